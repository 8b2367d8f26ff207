/** What a browser's window has; absent on a server. */
interface Browser {
  addEventListener(type: string, listener: (event: object) => void): void
  removeEventListener(type: string, listener: (event: object) => void): void
  readonly document: { readonly visibilityState: string }
}

const TYPES = ['online', 'offline', 'pageshow', 'visibilitychange']
/** The gateway sends an event at least every 15 s. Browsers throttle and freeze pages that are hidden for longer. */
const STALE_MS = 20_000

/**
 * Calls `onWake` when open connections may be dead: the network is back, the page returns from the back/forward cache, or it
 * was hidden for long. Returns a function that stops listening.
 */
export function listenForWake(onWake: () => void, onOffline: () => void): () => void {
  const browser = globalThis as Partial<Browser>
  let hiddenAt: number | undefined
  const listen = (event: { readonly type?: string; readonly persisted?: boolean }) => {
    const isHidden = browser.document?.visibilityState === 'hidden'
    if (event.type === 'offline') onOffline()
    else if (event.type === 'visibilitychange' && isHidden) hiddenAt = Date.now()
    else if (event.type === 'online' || event.persisted || Date.now() - (hiddenAt ?? Infinity) > STALE_MS) {
      hiddenAt = undefined
      onWake()
    }
  }
  for (const type of TYPES) browser.addEventListener?.(type, listen)
  return () => {
    for (const type of TYPES) browser.removeEventListener?.(type, listen)
  }
}
