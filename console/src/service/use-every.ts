import { useEffect } from 'preact/hooks'

/** Calls the function again and again while the page is visible, and when it becomes visible. */
export function useEvery(ms: number, run: () => void): void {
  useEffect(() => {
    const look = () => {
      if (!document.hidden) run()
    }
    const timer = setInterval(look, ms)
    document.addEventListener('visibilitychange', look)
    return () => {
      clearInterval(timer)
      document.removeEventListener('visibilitychange', look)
    }
  }, [ms, run])
}
