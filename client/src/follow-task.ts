import { follow, Progress, type FollowClient, type FollowedTask } from './follow.ts'

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

/**
 * Follows a task with `taskUpdated` until it has settled, and yields each state once, in order. A state of the same version is
 * yielded again only if the selected fields have changed, such as `queue { position }`. If the stream ends before the task
 * has settled, because a replica or a router stops, it subscribes again after the last version.
 * @throws FollowError if the task is not found, the token is missing, invalid or lacks permission, or errors persist; a
 * CloseEvent if the connection failed for another reason.
 */
export async function* followTask<Task extends FollowedTask = FollowedTask>(
  client: FollowClient,
  { id, selection = '', afterVersion, watchToken, signal }: FollowRequest,
): AsyncGenerator<Task, void> {
  const progress = new Progress(afterVersion)
  const variables = {
    id,
    watchToken: watchToken ?? null,
    get afterVersion() {
      return progress.resumeAfter
    },
  }
  yield* follow<Task>(client, {
    field: 'taskUpdated',
    payload: { query: toQuery(selection), variables },
    pending: new Map([[id, progress]]),
    toId: () => id,
    signal,
  })
}

function toQuery(selection: string): string {
  return `subscription FollowTask($id: ID!, $afterVersion: Int, $watchToken: String) {
  taskUpdated(id: $id, afterVersion: $afterVersion, watchToken: $watchToken) { version status ${selection} }
}`
}
