import { useEffect, useMemo, useSyncExternalStore } from 'react'
import type { AnyTask } from '../follow.ts'
import type { Upscale, UpscaleOptions, UpscaleSnapshot, UpscaleTask } from '../store/types.ts'
import { Store } from '../store/upscale.ts'

export type { UpscaledImage, UpscaleOptions, UpscaleSnapshot, UpscaleTask } from '../store/types.ts'

/**
 * What the hooks return: the state of the upscale, and what can be done. The functions are the same in each
 * render.
 */
export type UseUpscale<Task extends AnyTask = UpscaleTask> = UpscaleSnapshot<Task> &
  Pick<Upscale<Task>, 'submit' | 'retry' | 'cancel'>

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
 * Submits an upscale and follows it: `createUpscale` for React. The options may be new objects in each
 * render; the running stream keeps its client. An unmount closes the stream, but a submit that has begun is
 * completed. A new mount resumes from `storage`.
 */
export function useUpscale<Task extends AnyTask = UpscaleTask>(
  options: UpscaleOptions<Task>,
): UseUpscale<Task> {
  return useStore(options)
}

/**
 * Follows an existing task. `retry` submits its picture again, and follows the new task until `id` changes.
 */
export function useUpscaleTask<Task extends AnyTask = UpscaleTask>({
  id,
  watchToken,
  ...options
}: UseUpscaleTaskOptions<Task>): UseUpscale<Task> {
  return useStore(options, id, watchToken)
}

function useStore<Task extends AnyTask>(
  options: UpscaleOptions<Task>,
  id?: string | null,
  watchToken?: string | null,
): UseUpscale<Task> {
  const held = useMemo(() => {
    const latest = { options }
    return { latest, store: new Store(() => latest.options) }
  }, [id])
  // Not in render: React may drop a render.
  useEffect(() => {
    held.latest.options = options
  })
  const { store } = held
  useEffect(() => {
    if (id) store.follow(id, { watchToken })
  }, [store, id, watchToken])

  const snapshot = useSyncExternalStore(store.subscribe, store.getSnapshot, store.getSnapshot)
  const { submit, retry, cancel } = store
  return { ...snapshot, submit, retry, cancel }
}
