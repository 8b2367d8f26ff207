/** What `followTask` and `followTasks` share: one subscription until all its tasks have settled. */
import { FollowError, isPermanent } from './errors.ts'
import { readResults } from './results.ts'
import { randomRetryMs, wait } from './retry.ts'
import type { ConnectionState, GraphqlRequest, Transport } from './transport.ts'

/** The fields of every event. `selection` adds more. */
export interface FollowedTask {
  readonly version: number
  readonly status: 'SUBMITTED' | 'PROCESSING' | 'SUCCEEDED' | 'FAILED'
}

/** What every task needs, whatever types a code generator makes of it. */
export interface AnyTask {
  readonly version: number
  readonly status: string
}

const SETTLED = ['SUCCEEDED', 'FAILED']
/**
 * How many errors in a row are retried for each task if they are not marked as retryable. Routers may hide
 * the code of a permanent error.
 */
const MAX_FAILURES = 10
/**
 * A stream that lasted this long ends the backoff: something cuts connections off, but the server can be
 * reached.
 */
const STABLE_MS = 2_000

/** What is known about a task that has not settled. */
export class Progress {
  /** The version after which the next subscription resumes; null: it begins with the current state. */
  resumeAfter: number | null
  #version: number
  #data: string | undefined

  constructor(afterVersion: number | null | undefined) {
    this.resumeAfter = afterVersion ?? null
    this.#version = afterVersion ?? -1
  }

  /**
   * Records a state, and returns whether it is new to the caller. The place in the queue changes without a
   * new version; a re-assertion changes nothing. A router may send an older state, but a settled state counts
   * even then.
   */
  record(task: AnyTask): boolean {
    const { version, status } = task
    this.resumeAfter = version
    if (version < this.#version && !SETTLED.includes(status)) return false
    const data = JSON.stringify(task)
    // The caller has the state of `afterVersion`, whose data is not known here.
    const isKnown = version === this.#version && (this.#data ?? data) === data
    this.#version = version
    this.#data = data
    return !isKnown
  }
}

interface Follow<Task> {
  /** The only field of the subscription. */
  readonly field: string
  /** graphql-ws sends this request again after each reconnect, with the latest `variables`. */
  readonly request: GraphqlRequest
  /** The tasks that have not settled, by id. A settled task is removed. */
  readonly pending: Map<string, Progress>
  readonly toId: (task: Task) => string
  /** Takes an error that concerns one task, and returns false for all others. Absent: it takes none. */
  readonly takeError?: (error: FollowError) => boolean
  readonly onConnection?: ((state: ConnectionState) => void) | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Yields each new state until no task is pending. If the stream ends before that, because a replica or a
 * router stops, it subscribes again: without limit after errors that are marked as retryable, such as an
 * outage of the gateway's database.
 * @throws FollowError for a permanent error, and if temporary errors persist.
 */
export async function* follow<Task extends AnyTask>(
  client: Transport,
  reading: Follow<Task>,
): AsyncGenerator<Task, void> {
  const { request, pending, toId, takeError, onConnection, signal } = reading
  for (let failures = 0, retries = 0; pending.size > 0 && !signal?.aborted; retries += 1) {
    let minWaitMs = 0
    const startedAt = performance.now()
    onConnection?.('connecting')
    for await (const { value: task, error } of readResults<Task>(client, request, reading)) {
      if (task) {
        onConnection?.('live')
        failures = 0
        const id = toId(task)
        if (!id || !task.status || !(task.version >= 0))
          throw new FollowError('BAD_USER_INPUT', 'Select id, version and status.')
        const progress = pending.get(id)
        if (SETTLED.includes(task.status)) pending.delete(id)
        if (progress?.record(task)) {
          retries = 0
          yield task
        }
      } else if (!takeError?.(error)) {
        if (error.retryable) minWaitMs = error.retryAfterMs ?? 0
        else failures += 1
        if (failures > MAX_FAILURES * pending.size || isPermanent(error)) throw error
      }
      if (pending.size === 0) return
    }
    // A stream after the final version is empty. Without `afterVersion` the next one begins with the current
    // state.
    for (const progress of pending.values()) progress.resumeAfter = null
    if (performance.now() - startedAt > STABLE_MS) retries = 0
    onConnection?.('waiting')
    await wait(minWaitMs + randomRetryMs(retries), signal)
  }
}
