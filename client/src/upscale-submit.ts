import { toTransportError, type FollowError } from './errors.ts'
import type { AnyTask, ConnectionState } from './follow.ts'
import { readResults } from './results.ts'
import { randomRetryMs, wait } from './retry.ts'
import { submit, type Submitted } from './submit.ts'
import type { Transport } from './transport.ts'
import type { Pending } from './upscale-saved.ts'
import { SELECTION, type UpscaleOptions } from './upscale-types.ts'

const UNANSWERED = ['CONNECTION_FAILED', 'SERVICE_UNAVAILABLE', 'AUTH_UNAVAILABLE']
const CANCEL = 'mutation Cancel($id: ID!) { cancelUpscale(id: $id) { id } }'

interface Sending {
  /** Asked after each failure and each wait. */
  readonly isWanted: () => boolean
  readonly onConnection: (state: ConnectionState) => void
  readonly signal: AbortSignal
}

/** Whether the same request is sent again after this error of a submit. */
export function isUnanswered({ code }: FollowError): boolean {
  return UNANSWERED.includes(code)
}

/**
 * Sends the same request, with the same key, until there is an answer or it is no longer wanted.
 * @throws FollowError
 */
export async function sendUpscale<Task extends AnyTask>(
  options: UpscaleOptions<Task>,
  { input, key }: Pending,
  { isWanted, onConnection, signal }: Sending,
): Promise<Submitted<Task>> {
  for (let retries = 0; ; retries += 1) {
    const { client, selection = '', documents } = options
    const fields = { selection: `${SELECTION} ${selection}`, document: documents?.submit }
    try {
      return await submit<Task>(client, { input: { ...input, idempotencyKey: key }, ...fields, signal })
    } catch (failure) {
      const error = toTransportError(failure)
      if (!isUnanswered(error) || !isWanted()) throw error
      onConnection('waiting')
      await wait((error.retryAfterMs ?? 0) + randomRetryMs(retries), signal)
      if (!isWanted()) throw error
      onConnection('connecting')
    }
  }
}

/** Unlike `wait` it does not end early when the browser comes online. */
export async function waitUntil(at: number, signal: AbortSignal): Promise<void> {
  while (at > Date.now() && !signal.aborted) await wait(at - Date.now(), signal)
}

/** @throws FollowError */
export async function cancelUpscale(client: Transport, id: string, signal: AbortSignal): Promise<void> {
  const reading = { field: 'cancelUpscale', signal }
  for await (const { error } of readResults(client, { query: CANCEL, variables: { id } }, reading)) {
    if (error) throw error
    return
  }
}
