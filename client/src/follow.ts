/** What `followTask` and `followTasks` share: one subscription until all its tasks have settled. */
import type { Client, SubscribePayload } from 'graphql-ws'
import {
  isPermanent,
  isServerFailure,
  toAuthError,
  toFollowError,
  toRetryMs,
  type FollowError,
  type GraphqlError,
} from './errors.ts'
import { randomRetryMs, wait } from './retry.ts'

/** The fields of every event. `selection` adds more. */
export interface FollowedTask {
  readonly version: number
  readonly status: 'SUBMITTED' | 'PROCESSING' | 'SUCCEEDED' | 'FAILED'
}

export type FollowClient = Pick<Client, 'iterate'>

const SETTLED = ['SUCCEEDED', 'FAILED']
/**
 * How many errors in a row are retried for each task if they are not marked as retryable. Routers may hide the code of a
 * permanent error.
 */
const MAX_FAILURES = 10

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
   * Records a state, and returns whether it is new to the caller. The place in the queue changes without a new version; a
   * re-assertion changes nothing. A router may send an older state, but a settled state counts even then.
   */
  record(task: FollowedTask): boolean {
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
  /** graphql-ws sends this payload again after each reconnect: getters in `variables` return the latest values. */
  readonly payload: SubscribePayload
  /** The tasks that have not settled, by id. A settled task is removed. */
  readonly pending: Map<string, Progress>
  readonly toId: (task: Task) => string
  /** Takes an error that concerns one task, and returns false for all others. Absent: it takes none. */
  readonly takeError?: (error: FollowError) => boolean
  readonly signal: AbortSignal | undefined
}

/**
 * Yields each new state until no task is pending. If the stream ends before that, because a replica or a router stops, it
 * subscribes again: without limit after errors that are marked as retryable, such as an outage of the gateway's database.
 * @throws FollowError for a permanent error, and if temporary errors persist.
 */
export async function* follow<Task extends FollowedTask>(
  client: FollowClient,
  { field, payload, pending, toId, takeError, signal }: Follow<Task>,
): AsyncGenerator<Task, void> {
  for (let failures = 0, retries = 0; pending.size > 0 && !signal?.aborted; retries += 1) {
    let minWaitMs = 0
    for await (const { data, errors } of iterate<Task>(client, payload, signal)) {
      const task = data?.[field]
      if (task) {
        failures = 0
        const id = toId(task)
        const progress = pending.get(id)
        if (SETTLED.includes(task.status)) pending.delete(id)
        if (progress?.record(task)) {
          retries = 0
          yield task
        }
      } else {
        const error = toFollowError(errors?.[0])
        if (!takeError?.(error)) {
          const askedMs = toRetryMs(errors?.[0])
          if (askedMs === null) failures += 1
          else minWaitMs = askedMs
          if (failures > MAX_FAILURES * pending.size || isPermanent(error)) throw error
        }
      }
      if (pending.size === 0) return
    }
    // A stream after the final version is empty. Without `afterVersion` the next one begins with the current state.
    for (const progress of pending.values()) progress.resumeAfter = null
    await wait(minWaitMs + randomRetryMs(retries), signal)
  }
}

interface Result<Task> {
  readonly data?: Readonly<Record<string, Task | null>> | null | undefined
  readonly errors?: readonly GraphqlError[] | undefined
}

/** The results of a subscription. Errors that end it are the last result. */
async function* iterate<Task>(
  client: FollowClient,
  payload: SubscribePayload,
  signal: AbortSignal | undefined,
): AsyncGenerator<Result<Task>> {
  if (signal?.aborted) return
  const events = client.iterate<Record<string, Task | null>>(payload)
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
