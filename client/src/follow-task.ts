import type { Client, SubscribePayload } from 'graphql-ws'
import { isPermanent, isServerFailure, toAuthError, toFollowError, type GraphqlError } from './errors.ts'
import { randomRetryMs, wait } from './retry.ts'

/** The fields of every event. `selection` adds more. */
export interface FollowedTask {
  readonly version: number
  readonly status: 'SUBMITTED' | 'PROCESSING' | 'SUCCEEDED' | 'FAILED'
}

export interface FollowRequest {
  readonly id: string
  /** The fields to select besides `version` and `status`, e.g. `images { url } problem { code message }`. */
  readonly selection?: string
  /** The last version that the caller has received: only newer states are yielded. */
  readonly afterVersion?: number
  /** Gives access to a task of another owner. */
  readonly watchToken?: string
  /** Ends the generator at once, even while it waits. */
  readonly signal?: AbortSignal
}

const SETTLED = ['SUCCEEDED', 'FAILED']
/** How many temporary errors in a row are retried. Routers may hide the code of a permanent error. */
const MAX_FAILURES = 10

/**
 * Follows a task with `taskUpdated` until it has settled, and yields each state once, in order. If the stream ends before
 * that, because a replica or a router stops, it subscribes again after the last version.
 * @throws FollowError if the task is not found, the token is missing, invalid or lacks permission, or errors persist; a
 * CloseEvent if the connection failed for another reason.
 */
export async function* followTask<Task extends FollowedTask = FollowedTask>(
  client: Pick<Client, 'iterate'>,
  { id, selection = '', afterVersion, watchToken, signal }: FollowRequest,
): AsyncGenerator<Task, void> {
  let yielded = afterVersion ?? -1
  let resumeAfter = afterVersion ?? null
  // graphql-ws sends this payload again after each reconnect: the getter returns the latest version.
  const variables = {
    id,
    watchToken: watchToken ?? null,
    get afterVersion() {
      return resumeAfter
    },
  }
  const query = toQuery(selection)
  for (let failures = 0, retries = 0; !signal?.aborted; retries += 1) {
    for await (const { data, errors } of iterate<Task>(client, { query, variables }, signal)) {
      const task = data?.taskUpdated
      if (!task) {
        failures += 1
        const error = toFollowError(errors?.[0])
        if (failures > MAX_FAILURES || isPermanent(error)) throw error
        continue
      }
      failures = 0
      resumeAfter = task.version
      const settled = SETTLED.includes(task.status)
      // A router may repeat a state or send an older one. A settled state counts even then.
      if (task.version > yielded || (settled && task.version !== yielded)) {
        yielded = task.version
        retries = 0
        yield task
      }
      if (settled) return
    }
    // A stream after the final version is empty. Without `afterVersion` the next one begins with the current state.
    resumeAfter = null
    await wait(randomRetryMs(retries), signal)
  }
}

interface Result<Task> {
  readonly data?: { taskUpdated: Task | null } | null | undefined
  readonly errors?: readonly GraphqlError[] | undefined
}

/** The results of a subscription. Errors that end it are the last result. */
async function* iterate<Task>(
  client: Pick<Client, 'iterate'>,
  payload: SubscribePayload,
  signal: AbortSignal | undefined,
): AsyncGenerator<Result<Task>> {
  if (signal?.aborted) return
  const events = client.iterate<{ taskUpdated: Task | null }>(payload)
  // `return` of an async generator waits for its pending `next`; that of graphql-ws does not.
  const end = () => void events.return?.()
  signal?.addEventListener('abort', end)
  try {
    yield* events
  } catch (failure) {
    if (Array.isArray(failure)) yield { errors: failure as GraphqlError[] }
    else if (isServerFailure(failure)) yield { errors: [{ message: 'The server closed the connection.' }] }
    else throw toAuthError(failure) ?? failure
  } finally {
    signal?.removeEventListener('abort', end)
  }
}

function toQuery(selection: string): string {
  return `subscription FollowTask($id: ID!, $afterVersion: Int, $watchToken: String) {
  taskUpdated(id: $id, afterVersion: $afterVersion, watchToken: $watchToken) { version status ${selection} }
}`
}
