import { isPermanent, type FollowError } from './errors.ts'
import { follow, Progress, type FollowClient, type FollowedTask } from './follow.ts'

/** The fields of every event of `followTasks`. `selection` adds more. */
export interface FollowedTaskOfMany extends FollowedTask {
  readonly id: string
}

export interface FollowManyRequest {
  /** 1 to 50 ids. */
  readonly ids: readonly string[]
  /** The fields to select besides `id`, `version` and `status`. */
  readonly selection?: string
  /** For each id the last version that the caller has received: only newer states are yielded. */
  readonly afterVersions?: readonly (number | null)[]
  /** Ends the generator at once, even while it waits. */
  readonly signal?: AbortSignal
  /**
   * Receives the error of each task that cannot be followed, once; the stream continues with the others. Absent: the first such
   * error is thrown when the other tasks have settled.
   */
  readonly onError?: (id: string, error: FollowError) => void
}

/**
 * Follows many tasks with one `tasksUpdated` stream until all have settled. Yields each state once, in the order of each task,
 * as `followTask` does. If the stream ends before that, it subscribes again to the tasks that have not settled.
 * @throws FollowError if the token is missing, invalid or lacks permission, or errors persist; without `onError` also if a
 * task is not found. A CloseEvent if the connection failed for another reason.
 */
export async function* followTasks<Task extends FollowedTaskOfMany = FollowedTaskOfMany>(
  client: FollowClient,
  { ids, selection = '', afterVersions = [], signal, onError }: FollowManyRequest,
): AsyncGenerator<Task, void> {
  const pending = new Map<string, Progress>()
  for (const [index, id] of ids.entries())
    if (!pending.has(id)) pending.set(id, new Progress(afterVersions[index]))
  const variables = {
    get ids() {
      return [...pending.keys()]
    },
    get afterVersions() {
      return [...pending.values()].map(({ resumeAfter }) => resumeAfter)
    },
  }
  let firstError: FollowError | undefined
  const takeError = (error: FollowError) => {
    const { taskId } = error
    if (taskId === null || !ids.includes(taskId) || !isPermanent(error)) return false
    if (!pending.delete(taskId)) return true
    firstError ??= error
    onError?.(taskId, error)
    return true
  }
  yield* follow<Task>(client, {
    field: 'tasksUpdated',
    payload: { query: toQuery(selection), variables },
    pending,
    toId: ({ id }) => id,
    takeError,
    signal,
  })
  if (firstError && !onError && !signal?.aborted) throw firstError
}

function toQuery(selection: string): string {
  return `subscription FollowTasks($ids: [ID!]!, $afterVersions: [Int]) {
  tasksUpdated(ids: $ids, afterVersions: $afterVersions) { id version status ${selection} }
}`
}
