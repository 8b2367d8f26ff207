import { useEffect, useState } from 'preact/hooks'

/** A place within the console, from the hash of its URL: `#/tasks/ID?status=FAILED`. */
interface Route {
  readonly path: readonly string[]
  readonly query: URLSearchParams
}

function toRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2)
  return {
    path: path.split('/').filter(Boolean).map(decodeURIComponent),
    query: new URLSearchParams(query),
  }
}

/** The hash of a place. Parameters that are null or empty are left out. */
export function toHash(path: readonly string[], query: Readonly<Record<string, string | null>> = {}): string {
  const pairs = Object.entries(query).filter((pair): pair is [string, string] => Boolean(pair[1]))
  // Lists stay readable.
  const search = new URLSearchParams(pairs).toString().replaceAll('%2C', ',')
  return `#/${path.map(encodeURIComponent).join('/')}${search && `?${search}`}`
}

/** Replaces the place without an entry in the browser's history. */
export function replaceHash(hash: string): void {
  if (hash === location.hash) return
  history.replaceState(null, '', hash)
  dispatchEvent(new HashChangeEvent('hashchange'))
}

export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash)
  useEffect(() => {
    const look = () => setHash(location.hash)
    look()
    addEventListener('hashchange', look)
    return () => removeEventListener('hashchange', look)
  }, [])
  return toRoute(hash)
}
