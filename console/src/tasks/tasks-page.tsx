import { useCallback, useEffect, useLayoutEffect, useRef } from 'preact/hooks'
import { toHash, useRoute } from '../router.ts'
import { EmptyState } from '../ui/empty-state.tsx'
import { STATUSES, type TaskStatus } from './task-documents.ts'
import { TaskFilters } from './task-filters.tsx'
import { TaskPanel } from './task-panel.tsx'
import { TaskRows } from './task-rows.tsx'
import { useTaskList } from './use-task-list.ts'
import './task-list.css'
import './task-panel.css'

/** The width below which the open task takes the place of the list; also in the CSS. */
const NARROW = '(max-width: 999px)'

/** All tasks of the caller, live, and one of them in detail. */
export function TasksPage() {
  const { path, query } = useRoute()
  const id = path[1] ?? null
  const status = toStatus(query.get('status'))
  const text = query.get('q') ?? ''
  const toTaskHash = useCallback(
    (to: string | null) => toHash(to === null ? ['tasks'] : ['tasks', to], { status, q: text }),
    [status, text],
  )
  const live = useTaskList(status)
  const page = useRef<HTMLDivElement>(null)
  useReturn(id, page)
  const close = () => (location.hash = toTaskHash(null))
  const onDeleted = (deleted: string) => {
    live.remove(deleted)
    if (deleted === id) close()
  }
  return (
    <div
      ref={page}
      class={id === null ? 'tasks' : 'tasks tasks-open'}
      onKeyDown={({ key, target }) => {
        if (key === 'Escape' && id !== null && !isInDialog(target)) close()
      }}
    >
      <div class="tasks-list">
        <div class="page-head">
          <h1>Tasks</h1>
        </div>
        <TaskFilters status={status} text={text} list={live.list} toTaskHash={toTaskHash} />
        <TaskRows live={live} text={text} openId={id} toTaskHash={toTaskHash} />
      </div>
      <div class="tasks-detail">
        {id === null ? (
          <>
            <h2 class="visually-hidden">The open task</h2>
            <EmptyState title="No task is open">
              Choose a task to see its history, its deliveries and its facts.
            </EmptyState>
          </>
        ) : (
          <TaskPanel
            id={id}
            listedVersion={live.list.known.get(id)?.version ?? 0}
            closeHref={toTaskHash(null)}
            onDeleted={onDeleted}
          />
        )}
      </div>
    </div>
  )
}

function toStatus(text: string | null): TaskStatus | null {
  return STATUSES.find((status) => status === text) ?? null
}

function isInDialog(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest('dialog') !== null
}

/** After a task was closed: the focus returns to its row, and a narrow page to where it was. */
function useReturn(id: string | null, page: { readonly current: HTMLElement | null }): void {
  const last = useRef(id)
  const scrolled = useRef(0)
  useEffect(() => {
    if (id !== null) return
    const look = () => (scrolled.current = scrollY)
    addEventListener('scroll', look, { passive: true })
    return () => removeEventListener('scroll', look)
  }, [id])
  useLayoutEffect(() => {
    const closed = last.current
    last.current = id
    if (closed === id) return
    if (matchMedia(NARROW).matches) scrollTo(0, id === null ? scrolled.current : 0)
    if (closed !== null && id === null)
      page.current?.querySelector<HTMLElement>(`[data-task="${CSS.escape(closed)}"] a`)?.focus()
  }, [id, page])
}
