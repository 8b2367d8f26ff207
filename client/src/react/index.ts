import { useEffect, useState, useSyncExternalStore } from 'react'
import type { AnyTask } from '../follow.ts'
import type { Upscale, UpscaleOptions, UpscaleSnapshot, UpscaleTask } from '../upscale-types.ts'
import { createUpscale } from '../upscale.ts'

/** What the hooks return: the state of the upscale, and what can be done. The functions are the same in each render. */
export interface UseUpscale<Task extends AnyTask = UpscaleTask>
  extends UpscaleSnapshot<Task>, Pick<Upscale<Task>, 'submit' | 'retry' | 'cancel'> {
  /** How long the upscale runs, or took, in milliseconds. While it runs, it changes once a second. */
  readonly elapsedMs: number
}

export interface UseUpscaleTaskOptions<Task extends AnyTask = UpscaleTask> extends Omit<
  UpscaleOptions<Task>,
  'storage'
> {
  /** The task to follow. Without one the hook does nothing. */
  readonly id: string | null | undefined
  /** Gives access to a task of another owner. A new token is used from the next connection on. */
  readonly watchToken?: string | null | undefined
}

/**
 * Submits an upscale and follows it: `createUpscale` for React. The options may be new objects in each render; the running stream
 * keeps its client. An unmount closes the stream, but a submit that has begun is completed. A new mount resumes from `storage`.
 */
export function useUpscale<Task extends AnyTask = UpscaleTask>({
  client,
  selection,
  documents,
  storage,
  onSettled,
}: UpscaleOptions<Task>): UseUpscale<Task> {
  const { store } = useStore({ client, selection, documents, storage, onSettled }, null)
  return useResult(store)
}

/** Follows an existing task. `retry` submits its picture again, and follows the new task until `id` changes. */
export function useUpscaleTask<Task extends AnyTask = UpscaleTask>({
  client,
  selection,
  documents,
  onSettled,
  id,
  watchToken,
}: UseUpscaleTaskOptions<Task>): UseUpscale<Task> {
  const { store } = useStore({ client, selection, documents, onSettled }, id ?? null)
  useEffect(() => {
    if (id) store.follow(id, { watchToken })
  }, [store, id, watchToken])
  return useResult(store)
}

/** The store of this component; another one for another key. It reads the options of the latest render. */
function useStore<Task extends AnyTask>(options: UpscaleOptions<Task>, key: string | null) {
  const create = () => {
    const latest = { ...options }
    return { key, latest, store: createUpscale<Task>(latest) }
  }
  const [held, setHeld] = useState(create)
  const current = held.key === key ? held : create()
  if (current !== held) setHeld(current)
  // Not in render: React may drop a render.
  useEffect(() => {
    Object.assign(current.latest, options)
  })
  return current
}

function useResult<Task extends AnyTask>(store: Upscale<Task>): UseUpscale<Task> {
  const snapshot = useSyncExternalStore(store.subscribe, store.getSnapshot, store.getSnapshot)
  const { startedAt, endedAt } = snapshot
  const [now, setNow] = useState(0)
  useEffect(() => {
    if (startedAt === null || endedAt !== null) return
    const tick = () => setNow(Date.now())
    tick()
    const timer = setInterval(tick, 1_000)
    return () => clearInterval(timer)
  }, [startedAt, endedAt])
  const elapsedMs = startedAt === null ? 0 : Math.max(0, (endedAt ?? now) - startedAt)
  const { submit, retry, cancel } = store
  return { ...snapshot, elapsedMs, submit, retry, cancel }
}
