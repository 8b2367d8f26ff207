import { useCallback, useEffect, useReducer, useRef, useState } from 'preact/hooks'
import type { Failure } from '../failure.ts'
import { useSession } from '../session.ts'
import type { Store } from '../store.ts'
import type { Connection, Transport } from '../transport.ts'
import {
  TASKS_CHANGED,
  TASKS_QUERY,
  type ListedTask,
  type TaskPage,
  type TaskStatus,
} from './task-documents.ts'
import { addPage, addState, reloadPage, removeTask, settle, toEmptyList, type TaskList } from './task-list.ts'

const PAGE_SIZE = 25
/** The most that the gateway returns at a time. */
const MAX_PAGE_SIZE = 100
const RETRY_MS = 2_000

type Action =
  | { readonly kind: 'filter'; readonly status: TaskStatus | null }
  | { readonly kind: 'page'; readonly page: TaskPage; readonly status: TaskStatus | null }
  | { readonly kind: 'reloaded'; readonly page: TaskPage; readonly status: TaskStatus | null }
  | { readonly kind: 'states'; readonly tasks: readonly ListedTask[] }
  | { readonly kind: 'removed'; readonly id: string }
  | { readonly kind: 'settle' }

function reduce(list: TaskList, action: Action): TaskList {
  switch (action.kind) {
    case 'filter':
      return { ...toEmptyList(action.status), known: list.known }
    case 'page':
      return action.status === list.status ? addPage(list, action.page) : list
    case 'reloaded':
      return action.status === list.status ? reloadPage(list, action.page) : list
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
  readonly failure: Failure | null
  /** Loads the next page, or the first one again after a failure. */
  readonly loadMore: () => void
  /** Adds and removes the rows that have changed since. */
  readonly settle: () => void
  readonly remove: (id: string) => void
}

/** Pages of tasks with this status, kept current by the stream of all tasks of the caller. */
export function useTaskList(status: TaskStatus | null): LiveTaskList {
  const { execute, transport, connection } = useSession()
  const [list, dispatch] = useReducer(reduce, toEmptyList(status))
  const [request, setRequest] = useState({ isLoading: true, failure: null as Failure | null })
  const read = useCallback(
    async (variables: { first: number; after: string | null }, signal?: AbortSignal) => {
      const options = { repeat: true, ...(signal && { signal }) }
      const { data, failures } = await execute<{ upscaleTasks: TaskPage | null }>(
        TASKS_QUERY,
        { ...variables, status },
        options,
      )
      return { page: signal?.aborted ? null : (data?.upscaleTasks ?? null), failure: failures[0] ?? null }
    },
    [execute, status],
  )
  const load = useCallback(
    async (after: string | null, signal?: AbortSignal) => {
      setRequest({ isLoading: true, failure: null })
      const { page, failure } = await read({ first: PAGE_SIZE, after }, signal)
      if (signal?.aborted) return
      if (page) dispatch({ kind: 'page', page, status })
      setRequest({ isLoading: false, failure })
    },
    [read, status],
  )
  useEffect(() => {
    const aborter = new AbortController()
    dispatch({ kind: 'filter', status })
    void load(null, aborter.signal)
    return () => aborter.abort()
  }, [load, status])
  useEffect(() => followAll(transport, (tasks) => dispatch({ kind: 'states', tasks })), [transport])
  const count = useRef(0)
  count.current = list.shown.length
  useEffect(() => {
    const aborter = new AbortController()
    const reload = async () => {
      const first = Math.min(MAX_PAGE_SIZE, Math.max(PAGE_SIZE, count.current))
      const { page } = await read({ first, after: null }, aborter.signal)
      if (page) dispatch({ kind: 'reloaded', page, status })
    }
    const end = onReconnect(connection, () => void reload())
    return () => {
      end()
      aborter.abort()
    }
  }, [connection, read, status])
  return {
    list,
    ...request,
    loadMore: () => void load(list.endCursor),
    settle: useCallback(() => dispatch({ kind: 'settle' }), []),
    remove: useCallback((id: string) => dispatch({ kind: 'removed', id }), []),
  }
}

/** The stream reports at most 100 tasks when it begins again: older changes would be missed. */
function onReconnect(connection: Store<Connection>, run: () => void): () => void {
  let wasLost = false
  return connection.subscribe(() => {
    const state = connection.get()
    if (state === 'live' && wasLost) run()
    wasLost = state === 'waiting' || (wasLost && state !== 'live')
  })
}

interface ChangedData extends Record<string, unknown> {
  readonly upscaleTasksChanged: ListedTask | null
}

/**
 * Reports the states of one frame together: a subscription begins with up to 100 of them. Returns the end of
 * it.
 */
function followAll(transport: Transport, report: (tasks: readonly ListedTask[]) => void): () => void {
  const aborter = new AbortController()
  const { signal } = aborter
  let timer: ReturnType<typeof setTimeout> | undefined
  let tasks: ListedTask[] = []
  const flush = () => {
    if (!signal.aborted) report(tasks)
    tasks = []
  }
  const run = async () => {
    const events = transport.iterate<ChangedData>({ query: TASKS_CHANGED })
    const end = () => void events.return?.()
    signal.addEventListener('abort', end)
    try {
      for await (const { data } of events) {
        if (!data?.upscaleTasksChanged) continue
        if (tasks.push(data.upscaleTasksChanged) === 1) setTimeout(flush)
      }
    } catch {
      // A stream ends with an error when a replica stops, for example. It is followed by another one.
    }
    signal.removeEventListener('abort', end)
    if (!signal.aborted) timer = setTimeout(() => void run(), RETRY_MS)
  }
  void run()
  return () => {
    aborter.abort()
    clearTimeout(timer)
  }
}
