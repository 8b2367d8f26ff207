import { toRequest, type TypedDocument } from './document.ts'
import { follow, Progress, type AnyTask, type FollowedTask } from './follow.ts'
import type { ConnectionState, Transport } from './transport.ts'

export interface FollowRequest<Task = FollowedTask> {
  readonly id: string
  /** The fields to select besides `version` and `status`, e.g. `images { url } problem { code message }`. */
  readonly selection?: string | undefined
  /**
   * Instead of `selection`: a subscription to `taskUpdated` that selects `version` and `status`. Its
   * variables are `$id`, `$afterVersion` and `$watchToken`, as far as it declares them.
   */
  readonly document?: TypedDocument<{ readonly taskUpdated?: Task | null }> | undefined
  /** The last version that the caller has received: only newer states are yielded. */
  readonly afterVersion?: number | undefined
  /** Gives access to a task of another owner. */
  readonly watchToken?: string | null | undefined
  /** Receives the state of the connection: `live` with each event. */
  readonly onConnection?: ((state: ConnectionState) => void) | undefined
  /** Ends the generator at once, even while it waits. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Follows a task with `taskUpdated` until it has settled, and yields each state once, in order. A state of
 * the same version is yielded again only if the selected fields have changed, such as `queue { position }`.
 * If the connection is lost or the stream ends before the task has settled, because a replica or a router
 * stops, it subscribes again after the last version.
 * @throws FollowError if the task is not found, the token is missing, invalid or lacks permission, or errors
 * persist.
 */
export async function* followTask<Task extends AnyTask = FollowedTask>(
  client: Transport,
  options: FollowRequest<Task>,
): AsyncGenerator<Task, void> {
  const { id, selection = '', document, afterVersion, watchToken } = options
  const query = `subscription FollowTask($id: ID!, $afterVersion: Int, $watchToken: String) {
  taskUpdated(id: $id, afterVersion: $afterVersion, watchToken: $watchToken) { version status ${selection} }
}`
  const progress = new Progress(afterVersion)
  yield* follow<Task>(client, {
    ...options,
    field: 'taskUpdated',
    request: toRequest(document ?? query, () => ({
      id,
      afterVersion: progress.resumeAfter,
      watchToken,
    })),
    pending: new Map([[id, progress]]),
    toId: () => id,
  })
}
