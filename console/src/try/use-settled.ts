import { useEffect, useState } from 'preact/hooks'

/**
 * The value once it has not changed for this time: a text that is being typed is not looked up letter by
 * letter.
 */
export function useSettled(value: string, afterMs: number): string {
  const [settled, setSettled] = useState(value)
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), afterMs)
    return () => clearTimeout(timer)
  }, [value, afterMs])
  return settled
}
