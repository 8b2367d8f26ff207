/**
 * Where `createUpscale` keeps what it needs to resume after a reload, as JSON: the id and the version of its
 * task above all.
 */
export interface UpscaleStorage {
  /** Returns the stored value; null if there is none. A task id alone is a valid value, too. */
  get(): string | null
  /** Stores a value; null removes it. */
  set(value: string | null): void
}

/** The part of `localStorage` and `sessionStorage` that is used. */
export interface WebStorage {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
  removeItem(key: string): void
}

/** The globals of a browser; absent on a server. */
interface Browser {
  readonly location: { readonly href: string }
  readonly history: {
    readonly state: Readonly<Record<string, string | null | undefined>> | null
    replaceState(state: object, unused: string, url: URL): void
  }
}

/**
 * Keeps the id and the version in the search parameter `name` of the page's URL, as `ID.VERSION`, without a
 * new history entry. The rest, such as a submit without an answer, is in the state of the history entry: a
 * link must not be able to submit.
 */
export function toUrlStorage(name: string): UpscaleStorage {
  // A server has neither: reading and writing fail there, which the store permits.
  const { location, history } = globalThis as Partial<Browser> as Browser
  return {
    get() {
      const link = new URL(location.href).searchParams.get(name)
      const state = history.state?.[name] ?? null
      return link === null || link === toLink(state) ? state : JSON.stringify(link)
    },
    set(value) {
      const url = new URL(location.href)
      const link = toLink(value)
      if (link) url.searchParams.set(name, link)
      else url.searchParams.delete(name)
      history.replaceState({ ...history.state, [name]: value }, '', url)
    },
  }
}

/** Keeps the value in `localStorage` or `sessionStorage`. */
export function toWebStorage(storage: WebStorage, key: string): UpscaleStorage {
  return {
    get: () => storage.getItem(key),
    set: (value) => (value === null ? storage.removeItem(key) : storage.setItem(key, value)),
  }
}

/** `ID.VERSION`; undefined while there is no task. */
function toLink(value: string | null): string | undefined {
  const { id, version = 0 } = JSON.parse(value ?? '{}') as { id?: string; version?: number }
  return id && `${id}.${version}`
}
