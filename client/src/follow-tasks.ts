import { toRequest, type TypedDocument } from './document.ts'
import { isPermanent, type FollowError } from './errors.ts'
import { follow, Progress, type AnyTask, type FollowedTask } from './follow.ts'
import type { ConnectionState, Transport } from './transport.ts'

/** The fields of every event of `followTasks`. `selection` adds more. */
export interface FollowedTaskOfMany extends FollowedTask {
  readonly id: string
}

/** What every task of `followTasks` needs, whatever types a code generator makes of it. */
export interface AnyTaskOfMany extends AnyTask {
  readonly id: string
}

export interface FollowManyRequest<Task = FollowedTaskOfMany> {
  /** 1 to 50 ids. */
  readonly ids: readonly string[]
  /** The fields to select besides `id`, `version` and `status`. */
  readonly selection?: string | undefined
  /**
   * Instead of `selection`: a subscription to `tasksUpdated` that selects `id`, `version` and `status`. Its
   * variables are `$ids` and, if it declares them, `$afterVersions`.
   */
  readonly document?: TypedDocument<{ readonly tasksUpdated?: Task | null }> | undefined
  /** For each id the last version that the caller has received: only newer states are yielded. */
  readonly afterVersions?: readonly (number | null)[] | undefined
  /** Receives the state of the connection: `live` with each event. */
  readonly onConnection?: ((state: ConnectionState) => void) | undefined
  /** Ends the generator at once, even while it waits. */
  readonly signal?: AbortSignal | undefined
  /**
   * Receives the error of each task that cannot be followed, once; the stream continues with the others.
   * Absent: the first such error is thrown when the other tasks have settled.
   */
  readonly onError?: ((id: string, error: FollowError) => void) | undefined
}

/**
 * Follows many tasks with one `tasksUpdated` stream until all have settled. Yields each state once, in the
 * order of each task, as `followTask` does. If the stream ends before that, it subscribes again to the tasks
 * that have not settled.
 * @throws FollowError if the token is missing, invalid or lacks permission, or errors persist; without
 * `onError` also if a task is not found.
 */
export async function* followTasks<Task extends AnyTaskOfMany = FollowedTaskOfMany>(
  client: Transport,
  options: FollowManyRequest<Task>,
): AsyncGenerator<Task, void> {
  let firstError: FollowError | undefined
  const keepError = (_: string, error: FollowError) => (firstError ??= error)
  const { ids, selection = '', document, afterVersions = [], signal, onError = keepError } = options
  const query = `subscription FollowTasks($ids: [ID!]!, $afterVersions: [Int]) {
  tasksUpdated(ids: $ids, afterVersions: $afterVersions) { id version status ${selection} }
}`
  const pending = new Map<string, Progress>()
  for (const [index, id] of ids.entries())
    if (!pending.has(id)) pending.set(id, new Progress(afterVersions[index]))
  const takeError = (error: FollowError) => {
    const { taskId } = error
    if (taskId === null || !ids.includes(taskId) || !isPermanent(error)) return false
    if (pending.delete(taskId)) onError(taskId, error)
    return true
  }
  yield* follow<Task>(client, {
    ...options,
    field: 'tasksUpdated',
    request: toRequest(document ?? query, () => ({
      ids: [...pending.keys()],
      afterVersions: [...pending.values()].map(({ resumeAfter }) => resumeAfter),
    })),
    pending,
    toId: ({ id }) => id,
    takeError,
  })
  if (firstError && !signal?.aborted) throw firstError
}
