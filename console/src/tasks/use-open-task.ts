import { followTask } from 'upscale-gateway-client'
import { useCallback, useEffect, useRef, useState } from 'preact/hooks'
import { execute, toApiError, type Api, type ApiError } from './api.ts'
import { isSettled, toPollMs } from './deliveries.ts'
import { DELIVERIES_QUERY, OPEN_SELECTION, TASK_QUERY, type OpenTask } from './task-documents.ts'

export interface LiveTask {
  /** Null while it is loaded, and if there is none. */
  readonly task: OpenTask | null
  /** Whether no task of the caller has this id. */
  readonly isUnknown: boolean
  readonly error: ApiError | null
  /** Records a newer state, such as the answer to a mutation. */
  apply(change: Partial<OpenTask>): void
  reload(): void
}

interface State {
  readonly id: string
  readonly task: OpenTask | null
  readonly isUnknown: boolean
  readonly error: ApiError | null
}

const toLoading = (id: string): State => ({ id, task: null, isUnknown: false, error: null })

/**
 * The task with this id, live. `listedVersion` is the version in the list: a settled task has no stream of its own, so it
 * is loaded again when the list has a newer state.
 */
export function useOpenTask(api: Api, id: string, listedVersion: number): LiveTask {
  const [stored, setState] = useState<State>(toLoading(id))
  const state = stored.id === id ? stored : toLoading(id)
  const [reloads, setReloads] = useState(0)
  const apply = useCallback(
    (change: Partial<OpenTask>) =>
      setState((last) =>
        last.id === id && last.task && (change.version ?? last.task.version) >= last.task.version
          ? { ...last, task: { ...last.task, ...change } }
          : last,
      ),
    [id],
  )
  useEffect(() => {
    const aborter = new AbortController()
    const { signal } = aborter
    const show = (change: Partial<State>) => {
      if (!signal.aborted)
        setState((last) => ({ ...(last.id === id ? last : toLoading(id)), error: null, ...change }))
    }
    const run = async () => {
      const { upscaleTask: task } = await execute<{ upscaleTask: OpenTask | null }>(api, TASK_QUERY, { id })
      show({ task, isUnknown: task === null })
      if (!task || isSettled(task)) return
      const states = followTask<OpenTask>(api, { id, selection: OPEN_SELECTION, signal })
      for await (const next of states) show({ task: next })
    }
    run().catch((failure: unknown) => show({ error: toApiError(failure) }))
    return () => aborter.abort()
  }, [api, id, reloads])
  const reload = useCallback(() => setReloads((count) => count + 1), [])
  const isStale = state.task !== null && isSettled(state.task) && listedVersion > state.task.version
  useEffect(() => {
    if (isStale) reload()
  }, [isStale, listedVersion, reload])
  useDeliveries(api, state.task, apply)
  return { task: state.task, isUnknown: state.isUnknown, error: state.error, apply, reload }
}

/** Polls the deliveries while one is pending and the page is visible. */
function useDeliveries(api: Api, task: OpenTask | null, apply: LiveTask['apply']): void {
  const [polls, setPolls] = useState(0)
  const latest = useRef(task)
  latest.current = task
  const id = task?.id
  const pollMs = task ? toPollMs(task, Date.now()) : null
  const isWaiting = pollMs !== null
  useEffect(() => {
    if (id === undefined || pollMs === null) return
    const poll = () => {
      if (document.hidden) return
      execute<{ upscaleTask: Pick<OpenTask, 'callbacks'> | null }>(api, DELIVERIES_QUERY, { id })
        .then(({ upscaleTask }) => {
          if (upscaleTask && latest.current?.id === id) apply(upscaleTask)
        })
        // The next poll may succeed.
        .catch(() => undefined)
        .finally(() => setPolls((count) => count + 1))
    }
    const timer = setTimeout(poll, pollMs)
    document.addEventListener('visibilitychange', poll)
    return () => {
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', poll)
    }
    // `pollMs` changes with the clock: only another poll or another state begins a new wait.
  }, [api, id, isWaiting, polls, task?.version, apply])
}
