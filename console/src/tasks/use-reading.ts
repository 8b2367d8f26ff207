import { useEffect, useState } from 'preact/hooks'
import type { RefObject } from 'preact'

/**
 * Whether somebody reads the list: it is scrolled, the pointer is over its rows, or the focus is in them. Rows are then
 * neither added nor removed, so that nothing moves while it is read or aimed at.
 */
export function useReading(rows: RefObject<HTMLElement | null>): boolean {
  const [isReading, setReading] = useState(false)
  useEffect(() => {
    const element = rows.current
    if (!element) return
    let isOver = false
    let hasFocus = false
    const update = () => {
      // Hidden behind the open task of a narrow page, it has no place.
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
