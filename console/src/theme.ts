import { useEffect, useState } from 'preact/hooks'

type Theme = 'light' | 'dark'

/** `public/theme.js` reads it before the first paint. */
const KEY = 'upscale-console:theme'
const toTheme = (value: string | null): Theme | null => (value === 'light' || value === 'dark' ? value : null)

/** The theme that is shown, and a function that changes to the other. */
export function useTheme(): [Theme, () => void] {
  const [chosen, setChosen] = useState(() => toTheme(localStorage.getItem(KEY)))
  const [isDark, setDark] = useState(() => matchMedia('(prefers-color-scheme: dark)').matches)
  useEffect(() => {
    const query = matchMedia('(prefers-color-scheme: dark)')
    const look = () => setDark(query.matches)
    query.addEventListener('change', look)
    return () => query.removeEventListener('change', look)
  }, [])
  const theme = chosen ?? (isDark ? 'dark' : 'light')
  const toggle = () => {
    const next = theme === 'dark' ? 'light' : 'dark'
    document.documentElement.dataset.theme = next
    localStorage.setItem(KEY, next)
    setChosen(next)
  }
  return [theme, toggle]
}
