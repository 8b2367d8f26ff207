import { createContext, type ComponentChildren } from 'preact'
import { useCallback, useContext, useRef, useState } from 'preact/hooks'

const GATHER_MS = 200

const AnnounceContext = createContext<(text: string) => void>(() => undefined)

/** Returns a function that makes screen readers say a text. */
export const useAnnounce = (): ((text: string) => void) => useContext(AnnounceContext)

/** The page's live region, which its components share. */
export function LiveRegion({ children }: { children: ComponentChildren }) {
  const [{ text, count }, setMessage] = useState({ text: '', count: 0 })
  const waiting = useRef<string[]>([])
  const announce = useCallback((next: string) => {
    // What happens at the same time is said together: a text replaces the one before.
    if (waiting.current.push(next) > 1) return
    setTimeout(() => {
      const all = waiting.current.splice(0).join('. ')
      setMessage(({ count: last }) => ({ text: all, count: last + 1 }))
    }, GATHER_MS)
  }, [])
  return (
    <AnnounceContext.Provider value={announce}>
      {children}
      <div class="visually-hidden" role="status" aria-live="polite">
        {/* The key makes it say the same text twice. */}
        <span key={count}>{text}</span>
      </div>
    </AnnounceContext.Provider>
  )
}
