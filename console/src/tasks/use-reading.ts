import { useEffect, useState } from 'preact/hooks'
import type { RefObject } from 'preact'

/**
 * Whether the user reads the list: it is scrolled, the pointer is over its rows, or the focus is in them.
 * Rows are then neither added nor removed, so that none moves under the pointer.
 */
export function useReading(rows: RefObject<HTMLElement | null>): boolean {
  const [isReading, setReading] = useState(false)
  useEffect(() => {
    const element = rows.current
    if (!element) return
    let isOver = false
    let hasFocus = false
    const update = () => {
      // On a narrow page the open task hides the list, which then has no position.
      const isScrolled = element.offsetParent !== null && element.getBoundingClientRect().top < 0
      setReading(isOver || hasFocus || isScrolled)
    }
    const listen = (name: keyof HTMLElementEventMap, set: () => void) => {
      const listener = () => {
        set()
        update()
      }
      element.addEventListener(name, listener)
      return () => element.removeEventListener(name, listener)
    }
    const ends = [
      listen('pointerenter', () => (isOver = matchMedia('(hover: hover)').matches)),
      listen('pointerleave', () => (isOver = false)),
      listen('focusin', () => (hasFocus = true)),
      listen('focusout', () => (hasFocus = false)),
    ]
    addEventListener('scroll', update, { passive: true })
    return () => {
      for (const end of ends) end()
      removeEventListener('scroll', update)
    }
  }, [rows])
  return isReading
}
