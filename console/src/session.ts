import { createContext } from 'preact'
import { useCallback, useContext, useEffect, useState } from 'preact/hooks'
import type { ConsoleConfig } from './config.ts'
import { createExecute, type Execute, type Variables } from './execute.ts'
import type { Failure } from './failure.ts'
import { createStore, type Store } from './store.ts'
import { createTokens, type Tokens } from './tokens.ts'
import { createTransport, type Connection, type Transport } from './transport.ts'

/** The connection to the gateway, with its token. */
export interface Session {
  readonly config: ConsoleConfig
  readonly tokens: Tokens
  /** For `followTask`, `followTasks` and other subscriptions: `transport.iterate({ query, variables })`. */
  readonly transport: Transport
  /** Runs a query or a mutation. Never rejects: failures are values. */
  readonly execute: Execute
  readonly connection: Store<Connection>
  /** True while queries and mutations do not reach the gateway. */
  readonly unreached: Store<boolean>
}

export function createSession(config: ConsoleConfig): Session {
  const tokens = createTokens(config.authentication === 'bearer', sessionStorage)
  const connection = createStore<Connection>('idle')
  const unreached = createStore(false)
  return {
    config,
    tokens,
    connection,
    unreached,
    transport: createTransport(tokens, connection),
    execute: createExecute(tokens, unreached),
  }
}

export const SessionContext = createContext<Session | null>(null)

export function useSession(): Session {
  const session = useContext(SessionContext)
  if (!session) throw new Error('There is no SessionContext above this component.')
  return session
}

export interface QueryState<Data> {
  /** The latest data: null until it has arrived. It stays while a newer one is on its way. */
  readonly data: Data | null
  /** The first error; some fields of `data` may have arrived nevertheless. */
  readonly failure: Failure | null
  readonly isLoading: boolean
  /** Runs the query again. */
  readonly refetch: () => void
}

/**
 * Runs a query whenever its text or variables change. `query` null: none. Waits for the gateway while it
 * cannot be reached.
 */
export function useQuery<Data>(query: string | null, variables: Variables = {}): QueryState<Data> {
  const { execute } = useSession()
  const [state, setState] = useState<Omit<QueryState<Data>, 'refetch'>>({
    data: null,
    failure: null,
    isLoading: query !== null,
  })
  const [round, setRound] = useState(0)
  const key = JSON.stringify([query, variables])
  useEffect(() => {
    if (query === null) {
      setState({ data: null, failure: null, isLoading: false })
      return
    }
    const abort = new AbortController()
    setState((last) => ({ ...last, isLoading: true }))
    void execute<Data>(query, variables, { signal: abort.signal, repeat: true }).then(
      ({ data, failures }) => {
        if (!abort.signal.aborted) setState({ data, failure: failures[0] ?? null, isLoading: false })
      },
    )
    return () => abort.abort()
    // `key` stands for `query` and `variables`.
  }, [execute, key, round])
  const refetch = useCallback(() => setRound((count) => count + 1), [])
  return { ...state, refetch }
}
