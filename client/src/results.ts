import type { FollowError } from './errors.ts'
import { isServerFailure, toFollowError, toTransportError } from './errors.ts'
import type { GraphqlRequest, Transport } from './transport.ts'

/** The value of a result's only field; without a value its error. */
export interface Result<Value> {
  readonly value?: Value
  readonly error?: FollowError
  /** Whether the operation ended with this error, without being complete. */
  readonly isLost?: boolean
}

interface Reading {
  /** The only field of the operation. */
  readonly field: string
  readonly signal: AbortSignal | undefined
  readonly onOpen?: () => void
}

/**
 * The results of an operation. A failure that a repetition may fix is the last result.
 * @throws FollowError if graphql-ws has given up.
 */
export async function* readResults<Value>(
  client: Transport,
  request: GraphqlRequest,
  { field, signal, onOpen }: Reading,
): AsyncGenerator<Result<Value>, void> {
  if (signal?.aborted) return
  const results = client.iterate<Readonly<Record<string, Value | null>>>(request, onOpen)
  // `return` of an async generator waits for its pending `next`; that of transports does not.
  const end = () => void results.return?.()
  signal?.addEventListener('abort', end)
  try {
    for await (const { data, errors } of results) {
      onOpen?.()
      const value = data?.[field]
      yield value ? { value } : { error: toFollowError(errors?.[0]) }
    }
  } catch (failure) {
    const error = toTransportError(failure)
    const isRepeatable = failure === error || Array.isArray(failure) || isServerFailure(failure)
    if (!isRepeatable) throw error
    yield { error, isLost: true }
  } finally {
    signal?.removeEventListener('abort', end)
  }
}
