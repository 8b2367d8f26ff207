import { useEffect, useState } from 'preact/hooks'
import { useSession } from './session.ts'
import { useStore } from './store.ts'
import { useAnnounce } from './ui/live.tsx'
import { Spinner } from './ui/spinner.tsx'

/** A reconnect within this time is not worth a word. */
const PATIENCE_MS = 700

/** Says that the gateway cannot be reached, above the page: nothing moves. */
export function ConnectionBanner() {
  const { connection, unreached, tokens } = useSession()
  const isWaiting = useStore(connection) === 'waiting'
  const isUnreached = useStore(unreached)
  const { token, wanted } = useStore(tokens.state)
  const isOnline = useOnline()
  const announce = useAnnounce()
  // Without a token nothing is connected: the sign-in says so.
  const isLost = !isOnline || ((isWaiting || isUnreached) && (token !== null || wanted === null))
  const isShown = useLate(isLost, isOnline ? PATIENCE_MS : 0)
  useEffect(() => {
    if (!isShown) return
    announce('Offline: reconnecting')
    return () => announce('Connected again')
  }, [isShown, announce])
  if (!isShown) return null
  return (
    <div class="banner">
      <Spinner />
      {isOnline ? 'The gateway cannot be reached: reconnecting' : 'Offline: reconnecting'}
    </div>
  )
}

function useOnline(): boolean {
  const [isOnline, setOnline] = useState(navigator.onLine)
  useEffect(() => {
    const look = () => setOnline(navigator.onLine)
    addEventListener('online', look)
    addEventListener('offline', look)
    return () => {
      removeEventListener('online', look)
      removeEventListener('offline', look)
    }
  }, [])
  return isOnline
}

/** True once the condition has held for this time. */
function useLate(condition: boolean, afterMs: number): boolean {
  const [isLate, setLate] = useState(false)
  useEffect(() => {
    if (!condition) {
      setLate(false)
      return
    }
    const timer = setTimeout(() => setLate(true), afterMs)
    return () => clearTimeout(timer)
  }, [condition, afterMs])
  return condition && isLate
}
