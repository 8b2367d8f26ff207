import { toGatewayUrl } from './config.ts'
import { NETWORK, toFailure, type Failure, type GraphqlError } from './failure.ts'
import type { Store } from './store.ts'
import type { Tokens } from './tokens.ts'

export type Variables = Readonly<Record<string, unknown>>

/** Errors in single fields leave the others: there can be both data and failures. */
interface Result<Data> {
  readonly data: Data | null
  readonly failures: readonly Failure[]
}

interface ExecuteOptions {
  readonly signal?: AbortSignal
  /**
   * Repeats the request until the gateway is reached. For queries, and for mutations with an idempotency key.
   */
  readonly repeat?: boolean
}

export type Execute = <Data>(
  query: string,
  variables?: Variables,
  options?: ExecuteOptions,
) => Promise<Result<Data>>

const MAX_WAIT_MS = 5_000
const UNAUTHENTICATED = 'UNAUTHENTICATED'

/** Runs queries and mutations by HTTP. `unreached` is true while requests fail. Never rejects. */
export function createExecute(tokens: Tokens, unreached: Store<boolean>): Execute {
  return async <Data>(query: string, variables: Variables = {}, options: ExecuteOptions = {}) => {
    const { signal, repeat = false } = options
    for (let waitMs = 250; ; waitMs = Math.min(MAX_WAIT_MS, waitMs * 2)) {
      const token = await tokens.get()
      const result = await post<Data>({ query, variables }, token, signal)
      unreached.set(isNetwork(result) && signal?.aborted !== true)
      if (result.failures[0]?.code === UNAUTHENTICATED) tokens.refuse(token)
      else if (!isNetwork(result) || !repeat || signal?.aborted === true) return result
      else await untilOnline(waitMs, signal)
    }
  }
}

const isNetwork = ({ failures: [first] }: Result<unknown>): boolean => first === NETWORK

async function post<Data>(
  body: object,
  token: string | undefined,
  signal: AbortSignal | undefined,
): Promise<Result<Data>> {
  try {
    const response = await fetch(toGatewayUrl('graphql'), {
      method: 'POST',
      headers: {
        accept: 'application/json',
        'content-type': 'application/json',
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify(body),
      signal: signal ?? null,
    })
    const { data = null, errors = [] } = (await response.json()) as {
      data?: Data | null
      errors?: readonly GraphqlError[]
    }
    return { data, failures: errors.map(toFailure) }
  } catch {
    return { data: null, failures: [NETWORK] }
  }
}

/** Waits this long, or until the browser is online again, or the signal aborts. */
function untilOnline(waitMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      removeEventListener('online', end)
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, waitMs)
    addEventListener('online', end)
    signal?.addEventListener('abort', end)
  })
}
