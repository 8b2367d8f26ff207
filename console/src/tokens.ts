import { createStore, type Store } from './store.ts'

export interface TokenState {
  readonly token: string | null
  /** Why a token is wanted; null: none is. */
  readonly wanted: 'missing' | 'refused' | null
}

/** The bearer token: in memory, and in sessionStorage for reloads of this tab. */
export interface Tokens {
  readonly state: Store<TokenState>
  /** Resolves to a token, once there is one; undefined if the gateway wants none. */
  get(): Promise<string | undefined>
  /** The gateway refused this token: another is wanted. Has no effect if there is another one already. */
  refuse(token: string | undefined): void
  accept(token: string): void
  signOut(): void
}

const KEY = 'upscale-console:token'

export function createTokens(wanted: boolean, storage: Storage): Tokens {
  const stored = wanted ? storage.getItem(KEY) : null
  const state = createStore<TokenState>({
    token: stored,
    wanted: wanted && stored === null ? 'missing' : null,
  })
  const set = (next: TokenState) => {
    if (next.token === null) storage.removeItem(KEY)
    else storage.setItem(KEY, next.token)
    state.set(next)
  }
  return {
    state,
    get: () =>
      new Promise((resolve) => {
        if (!wanted) {
          resolve(undefined)
          return
        }
        const look = () => {
          const { token } = state.get()
          if (token === null) return
          end()
          resolve(token)
        }
        const end = state.subscribe(look)
        look()
      }),
    refuse(token) {
      if (!wanted || state.get().token !== token) return
      set({ token: null, wanted: 'refused' })
    },
    accept: (token) => set({ token, wanted: null }),
    signOut: () => set({ token: null, wanted: 'missing' }),
  }
}
