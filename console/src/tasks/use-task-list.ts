import { useCallback, useEffect, useReducer, useState } from 'preact/hooks'
import { execute, toApiError, type Api, type ApiError } from './api.ts'
import {
  TASKS_CHANGED,
  TASKS_QUERY,
  type ListedTask,
  type TaskPage,
  type TaskStatus,
} from './task-documents.ts'
import { addPage, addState, removeTask, settle, toEmptyList, type TaskList } from './task-list.ts'

const PAGE_SIZE = 25
const RETRY_MS = 2_000

type Action =
  | { readonly kind: 'filter'; readonly status: TaskStatus | null }
  | { readonly kind: 'page'; readonly page: TaskPage; readonly status: TaskStatus | null }
  | { readonly kind: 'states'; readonly tasks: readonly ListedTask[] }
  | { readonly kind: 'removed'; readonly id: string }
  | { readonly kind: 'settle' }

function reduce(list: TaskList, action: Action): TaskList {
  switch (action.kind) {
    case 'filter':
      return { ...toEmptyList(action.status), known: list.known }
    case 'page':
      return action.status === list.status ? addPage(list, action.page) : list
    case 'states':
      return action.tasks.reduce(addState, list)
    case 'removed':
      return removeTask(list, action.id)
    case 'settle':
      return settle(list)
    default:
      return action satisfies never
  }
}

export interface LiveTaskList {
  readonly list: TaskList
  readonly isLoading: boolean
  /** Why the last page could not be loaded. */
  readonly error: ApiError | null
  loadMore(): void
  /** Shows what has changed since. */
  settle(): void
  remove(id: string): void
  /** Records a state that came another way. */
  record(task: ListedTask): void
}

/** Pages of tasks with this status, kept current by the stream of all tasks of the caller. */
export function useTaskList(api: Api, status: TaskStatus | null): LiveTaskList {
  const [list, dispatch] = useReducer(reduce, toEmptyList(status))
  const [request, setRequest] = useState<{ isLoading: boolean; error: ApiError | null }>({
    isLoading: true,
    error: null,
  })
  const load = useCallback(
    (after: string | null, signal?: AbortSignal) => {
      setRequest({ isLoading: true, error: null })
      execute<{ upscaleTasks: TaskPage }>(api, TASKS_QUERY, { first: PAGE_SIZE, after, status })
        .then(({ upscaleTasks: page }) => {
          if (signal?.aborted) return
          dispatch({ kind: 'page', page, status })
          setRequest({ isLoading: false, error: null })
        })
        .catch((failure: unknown) => {
          if (!signal?.aborted) setRequest({ isLoading: false, error: toApiError(failure) })
        })
    },
    [api, status],
  )
  useEffect(() => {
    const aborter = new AbortController()
    dispatch({ kind: 'filter', status })
    load(null, aborter.signal)
    return () => aborter.abort()
  }, [load, status])
  useEffect(() => followAll(api, (tasks) => dispatch({ kind: 'states', tasks })), [api])
  return {
    list,
    ...request,
    loadMore: useCallback(() => load(list.endCursor), [load, list.endCursor]),
    settle: useCallback(() => dispatch({ kind: 'settle' }), []),
    remove: useCallback((id: string) => dispatch({ kind: 'removed', id }), []),
    record: useCallback((task: ListedTask) => dispatch({ kind: 'states', tasks: [task] }), []),
  }
}

/** Reports the states of one frame together: a subscription begins with up to 100 of them. Returns the end of it. */
function followAll(api: Api, report: (tasks: readonly ListedTask[]) => void): () => void {
  let ended = false
  let events: AsyncIterableIterator<unknown> | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  let frame = 0
  let tasks: ListedTask[] = []
  const flush = () => {
    frame = 0
    report(tasks)
    tasks = []
  }
  const run = async () => {
    try {
      const stream = api.iterate<{ upscaleTasksChanged: ListedTask | null }>({ query: TASKS_CHANGED })
      events = stream
      for await (const { data } of stream) {
        if (ended) return
        if (!data?.upscaleTasksChanged) continue
        tasks.push(data.upscaleTasksChanged)
        frame ||= requestAnimationFrame(flush)
      }
    } catch {
      // The session reports a lost connection and a refused token; a replica that stops is followed by another one.
    }
    if (!ended) timer = setTimeout(() => void run(), RETRY_MS)
  }
  void run()
  return () => {
    ended = true
    clearTimeout(timer)
    cancelAnimationFrame(frame)
    void events?.return?.()
  }
}
