import { useEffect, useRef } from 'preact/hooks'
import { Button, LinkButton } from '../ui/button.tsx'
import { EmptyState } from '../ui/empty-state.tsx'
import { ErrorNote } from '../ui/error-note.tsx'
import { useAnnounce } from '../ui/live.tsx'
import { countNew, hasLeft, isUnsettled, toRows } from './task-list.ts'
import { TaskRow } from './task-row.tsx'
import { useNow } from './use-now.ts'
import { useReading } from './use-reading.ts'
import type { LiveTaskList } from './use-task-list.ts'

interface TaskRowsProps {
  readonly live: LiveTaskList
  readonly text: string
  readonly openId: string | null
  readonly toTaskHash: (id: string | null) => string
}

/**
 * The rows of the list. While the user reads them, a button with the number of new tasks replaces new rows.
 */
export function TaskRows({ live, text, openId, toTaskHash }: TaskRowsProps) {
  const { list, settle, isLoading, failure } = live
  const now = useNow()
  const element = useRef<HTMLUListElement>(null)
  const isReading = useReading(element)
  useEffect(() => {
    if (!isReading) settle()
  }, [isReading, list, settle])
  const rows = toRows(list, text)
  return (
    <>
      <News live={live} isHeld={isReading && isUnsettled(list)} />
      <ul ref={element} class="task-rows" aria-label="Tasks" aria-busy={isLoading} onKeyDown={moveFocus}>
        {rows.map((task) => (
          <TaskRow
            key={task.id}
            task={task}
            href={toTaskHash(task.id)}
            now={now}
            isOpen={task.id === openId}
            hasLeft={hasLeft(list, task)}
          />
        ))}
        {!list.loaded && !failure && <Placeholders />}
      </ul>
      {failure && <ErrorNote failure={failure} onRetry={live.loadMore} />}
      {list.loaded && rows.length === 0 && <None isFiltered={text.trim() !== '' || list.status !== null} />}
      {list.hasMore && (
        <div class="task-more">
          <Button isBusy={isLoading} onClick={live.loadMore}>
            Load more
          </Button>
        </div>
      )}
    </>
  )
}

/** A button over the top of the list that shows what has changed. It takes no place of its own. */
function News({ live: { list, settle }, isHeld }: { readonly live: LiveTaskList; readonly isHeld: boolean }) {
  const announce = useAnnounce()
  const count = countNew(list)
  const text = count === 0 ? 'Update the list' : `${count} new ${count === 1 ? 'task' : 'tasks'}`
  useEffect(() => {
    if (isHeld && count > 0) announce(text)
  }, [isHeld, count, text, announce])
  return (
    <div class="task-news">
      {isHeld && (
        <button
          type="button"
          onClick={() => {
            settle()
            scrollTo({ top: 0 })
          }}
        >
          {text}
        </button>
      )}
    </div>
  )
}

function None({ isFiltered }: { readonly isFiltered: boolean }) {
  if (isFiltered)
    return <EmptyState title="No task matches">Choose another status, or another text.</EmptyState>
  return (
    <EmptyState title="No tasks yet">
      <p>They appear here as soon as they are submitted.</p>
      <LinkButton href="#/try" icon="arrow">
        Upscale a picture
      </LinkButton>
    </EmptyState>
  )
}

function Placeholders() {
  return Array.from({ length: 8 }, (_, index) => (
    <li key={index} class="task-row task-row-placeholder" aria-hidden="true">
      <span class="thumb" />
      <span class="task-row-name" />
    </li>
  ))
}

/** The arrow keys move the focus between the rows. */
function moveFocus(event: KeyboardEvent): void {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
  const rows = event.currentTarget instanceof Element ? [...event.currentTarget.querySelectorAll('a')] : []
  const next = step === undefined ? undefined : rows[rows.findIndex((row) => row === event.target) + step]
  if (!next) return
  event.preventDefault()
  next.focus()
}
