/** Submits and follows what the cards of the Try page show. */
import { followTasks } from 'upscale-gateway-client'
import { toThrownFailure } from '../failure.ts'
import type { Session } from '../session.ts'
import type { Store } from '../store.ts'
import { TASK, TASK_FIELDS, UPSCALE, type Task, type UpscaleData } from './operations.ts'
import { createPendingSubmits } from './pending.ts'
import { EMPTY, isSettled, type Sent, type Try, type TryRequest } from './try.ts'

/**
 * When a succeeded task is queried for facts that are missing: a copy may be made later, and a source be
 * found.
 */
const CHECKS_MS = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000]

interface Runs {
  update(key: string, change: Partial<Try>): void
  /** Records the state of a task. */
  take(task: Task): void
  /** Submits the pictures of one request, and follows their tasks. */
  send(tries: readonly Sent[]): void
  follow(ids: readonly string[]): void
  /** Sends those again that had no answer before a reload, with the same idempotency key. */
  resume(): void
  /** Removes the cards. Requests that are on their way go on, but are not repeated after a reload. */
  clear(): void
}

export function createRuns(session: Session, store: Store<readonly Try[]>, storage: Storage): Runs {
  const pending = createPendingSubmits<TryRequest>(storage)
  let aborter = new AbortController()
  const find = (id: string) => store.get().find((each) => each.id === id)
  const update = (key: string, change: Partial<Try>) =>
    store.set(store.get().map((each) => (each.key === key ? { ...each, ...change } : each)))
  const take = (task: Task) => {
    const old = find(task.id)
    if (!old || (old.task && old.task.version > task.version)) return
    update(old.key, { task, failure: task.problem })
    if (isIncomplete(task) && old.task?.status !== 'SUCCEEDED') void completeFacts(session, task.id, take)
  }
  const follow = async (all: readonly string[]) => {
    const ids = all.filter((id) => !isSettled(find(id)?.task ?? null))
    const onError = (id: string, error: unknown) => {
      const found = find(id)
      if (found && !isSettled(found.task)) update(found.key, { failure: toThrownFailure(error) })
    }
    if (ids.length === 0) return
    try {
      const request = { ids, selection: TASK_FIELDS, onError, signal: aborter.signal }
      for await (const task of followTasks<Task>(session.transport, request)) take(task)
    } catch (error) {
      for (const id of ids) onError(id, error)
    }
  }
  const run = async (tries: readonly Sent[], isRepeated: boolean) => {
    const { signal } = aborter
    const outcomes = await submit(session, tries, { isRepeated, signal })
    if (signal.aborted) return
    pending.remove(tries[0]?.key)
    const ids = outcomes.flatMap(({ id }) => id ?? [])
    const isSent = (key: string) => tries.some((each) => each.key === key)
    // A replayed task may be on the screen: its card moves to the new place.
    store.set(store.get().filter(({ key, id }) => isSent(key) || id === null || !ids.includes(id)))
    for (const [index, { key }] of tries.entries()) update(key, outcomes[index] ?? {})
    await follow(ids)
  }
  const clear = () => {
    pending.clear()
    store.set([])
  }
  // The next person to sign in sees none of the tasks, and sends none of the requests.
  session.tokens.state.subscribe(() => {
    if (session.tokens.state.get().wanted !== 'missing') return
    aborter.abort()
    aborter = new AbortController()
    clear()
  })
  return {
    update,
    take,
    follow: (ids) => void follow(ids),
    send(tries) {
      pending.add(tries.map(({ key, request, startedAt }) => ({ key, request, startedAt })))
      void run(tries, false)
    },
    resume() {
      const submits = pending.earlier.map((each) => each.map((one): Sent => ({ ...EMPTY, ...one })))
      store.set(submits.flat())
      for (const tries of submits) void run(tries, true)
    },
    clear,
  }
}

/**
 * Sends one request, again until an answer arrives: with its idempotency key it pays once. `isRepeated`:
 * another page sent it before, so the answer may be a replay of its own task.
 */
async function submit(
  { execute }: Pick<Session, 'execute'>,
  tries: readonly Sent[],
  { isRepeated, signal }: { readonly isRepeated: boolean; readonly signal: AbortSignal },
): Promise<Partial<Try>[]> {
  const first = tries[0]?.request
  if (!first) return []
  const input = {
    taskId: first.taskId,
    imageIndices: tries.map(({ request }) => request.imageIndex),
    waterMark: first.waterMark === '' ? null : first.waterMark,
    engine: first.engine === '' ? null : first.engine,
    queue: first.queue,
    force: first.force,
    idempotencyKey: tries[0]?.key,
  }
  const { data, failures } = await execute<UpscaleData>(UPSCALE, { input }, { repeat: true, signal })
  const results = data?.upscaleImages?.results
  return tries.map((_, index) => {
    const result = results?.[index]
    if (!result) return { failure: failures[0] ?? null }
    const { task, problem, replayed } = result
    return {
      id: task?.id ?? null,
      task,
      failure: problem ?? task?.problem ?? null,
      isReplayed: replayed && !isRepeated,
    }
  })
}

/** Whether facts of a succeeded task may become known later: no event tells. */
function isIncomplete({ images }: Task): boolean {
  return (
    images?.some(({ copyState, enlargement }) => copyState === 'PENDING' || enlargement === null) ?? false
  )
}

async function completeFacts(
  { execute }: Pick<Session, 'execute'>,
  id: string,
  take: (task: Task) => void,
): Promise<void> {
  for (const ms of CHECKS_MS) {
    await new Promise((resolve) => setTimeout(resolve, ms))
    const { data } = await execute<{ upscaleTask: Task | null }>(TASK, { id }, { repeat: true })
    const task = data?.upscaleTask
    if (task) take(task)
    if (!task || !isIncomplete(task)) return
  }
}
