import { FollowError, toFollowError, toTransportError } from './errors.ts'
import type { GraphqlRequest, Transport } from './transport.ts'

/**
 * The value of a result's only field, and the error: it explains why there is no value, or no value of a
 * field in it.
 */
interface Result<Value> {
  readonly value?: Value | null | undefined
  readonly error: FollowError
}

interface Reading {
  /** The only field of the operation. */
  readonly field: string
  readonly signal?: AbortSignal | undefined
}

/**
 * The results of an operation. A failure of the connection that a repetition may fix is the last result.
 * @throws FollowError if the transport has given up.
 */
export async function* readResults<Value>(
  client: Transport,
  request: GraphqlRequest,
  { field, signal }: Reading,
): AsyncGenerator<Result<Value>, void> {
  if (signal?.aborted) return
  const results = client.iterate<Readonly<Record<string, Value | null>>>(request)
  // `return` of an async generator waits for its pending `next`; that of transports does not.
  const end = () => void results.return?.()
  signal?.addEventListener('abort', end)
  try {
    for await (const { data, errors } of results) {
      const value = data?.[field]
      yield { value, error: toFollowError(errors?.[0]) }
    }
  } catch (failure) {
    yield { error: toTransportError(failure) }
  } finally {
    signal?.removeEventListener('abort', end)
  }
}

/** The result of a query or mutation. */
export async function readOne<Value>(
  client: Transport,
  request: GraphqlRequest,
  reading: Reading,
): Promise<Result<Value>> {
  for await (const result of readResults<Value>(client, request, reading)) return result
  return {
    error: reading.signal?.aborted ? new FollowError('ABORTED', 'Aborted.') : toFollowError(),
  }
}
