import { createContext, type ComponentChildren } from 'preact'
import { useCallback, useContext, useState } from 'preact/hooks'

const AnnounceContext = createContext<(text: string) => void>(() => undefined)

/** Returns a function that makes screen readers say a text. */
export const useAnnounce = (): ((text: string) => void) => useContext(AnnounceContext)

/** The page's live region, which its components share. */
export function LiveRegion({ children }: { children: ComponentChildren }) {
  const [{ text, count }, setMessage] = useState({ text: '', count: 0 })
  const announce = useCallback(
    (next: string) => setMessage((last) => ({ text: next, count: last.count + 1 })),
    [],
  )
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
