import { followTask } from 'upscale-gateway-client'
import { useCallback, useEffect, useState } from 'preact/hooks'
import { toThrownFailure, type Failure } from '../failure.ts'
import { useSession } from '../session.ts'
import { isSettled, toPollMs } from './deliveries.ts'
import { DELIVERIES_QUERY, OPEN_SELECTION, TASK_QUERY, type OpenTask } from './task-documents.ts'

interface State {
  readonly id: string
  /** Null while it is loaded, and if there is none. */
  readonly task: OpenTask | null
  /** Whether no task of the caller has this id. */
  readonly isUnknown: boolean
  readonly failure: Failure | null
}

export interface LiveTask extends State {
  /** Records what a mutation has changed. */
  readonly apply: (change: Partial<OpenTask>) => void
  readonly reload: () => void
}

const toLoading = (id: string): State => ({ id, task: null, isUnknown: false, failure: null })

/**
 * The task with this id, live. `listedVersion` is its version in the list: a settled task has no stream of
 * its own, so it is loaded again when the list has a newer state.
 */
export function useOpenTask(id: string, listedVersion: number): LiveTask {
  const { execute, transport } = useSession()
  const [stored, setState] = useState(toLoading(id))
  const [round, setRound] = useState(0)
  const state = stored.id === id ? stored : toLoading(id)
  const reload = useCallback(() => setRound((count) => count + 1), [])
  const apply = useCallback(
    (change: Partial<OpenTask>) =>
      setState((last) =>
        last.id === id && last.task ? { ...last, task: { ...last.task, ...change } } : last,
      ),
    [id],
  )
  useEffect(() => {
    const aborter = new AbortController()
    const { signal } = aborter
    const show = (change: Partial<State>) => {
      if (!signal.aborted)
        setState((last) => ({ ...(last.id === id ? last : toLoading(id)), failure: null, ...change }))
    }
    const run = async () => {
      const options = { signal, repeat: true }
      const { data, failures } = await execute<{ upscaleTask: OpenTask | null }>(TASK_QUERY, { id }, options)
      if (!data?.upscaleTask && failures[0]) {
        show({ failure: failures[0] })
        return
      }
      const task = data?.upscaleTask ?? null
      show({ task, isUnknown: task === null })
      if (!task || isSettled(task) || signal.aborted) return
      const states = followTask<OpenTask>(transport, { id, selection: OPEN_SELECTION, signal })
      for await (const next of states) show({ task: next })
    }
    run().catch((error: unknown) => show({ failure: toThrownFailure(error) }))
    return () => aborter.abort()
  }, [execute, transport, id, round])
  const isStale = state.task !== null && isSettled(state.task) && listedVersion > state.task.version
  useEffect(() => {
    if (isStale) reload()
  }, [isStale, listedVersion, reload])
  useDeliveries(state.task, apply)
  return { ...state, apply, reload }
}

/** Polls the deliveries while one is pending and the page is visible. */
function useDeliveries(task: OpenTask | null, apply: LiveTask['apply']): void {
  const { execute } = useSession()
  const [polls, setPolls] = useState(0)
  const id = task?.id
  const pollMs = task ? toPollMs(task, Date.now()) : null
  useEffect(() => {
    if (id === undefined || pollMs === null) return
    const aborter = new AbortController()
    const { signal } = aborter
    const poll = async () => {
      if (document.hidden) return
      const { data } = await execute<{ upscaleTask: Pick<OpenTask, 'callbacks'> | null }>(
        DELIVERIES_QUERY,
        { id },
        { signal },
      )
      if (signal.aborted) return
      if (data?.upscaleTask) apply(data.upscaleTask)
      setPolls((count) => count + 1)
    }
    const timer = setTimeout(() => void poll(), pollMs)
    const look = () => void poll()
    document.addEventListener('visibilitychange', look)
    return () => {
      aborter.abort()
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', look)
    }
    // `pollMs` depends on the clock, too: only another poll or another state begins a new wait.
  }, [execute, id, pollMs === null, polls, task?.version, apply])
}
