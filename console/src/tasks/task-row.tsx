import { StatusBadge } from './status-badge.tsx'
import { toAge } from './formats.ts'
import type { ListedTask } from './task-documents.ts'
import { Thumb } from './thumb.tsx'

interface TaskRowProps {
  readonly task: ListedTask
  readonly now: number
  readonly isOpen: boolean
  /** It no longer has the status that the list is filtered by. */
  readonly hasLeft: boolean
}

/** A task in the list: a link to its page. */
export function TaskRow({ task, now, isOpen, hasLeft }: TaskRowProps) {
  const { id, source, imageIndex, engine, status, createdAt, queue, problem } = task
  const detail = queue ? `waits, position ${queue.position}` : (problem?.code ?? engine)
  return (
    <li class={`task-row${hasLeft ? ' task-row-left' : ''}`} data-task={id}>
      <a href={`#/tasks/${id}`} aria-current={isOpen ? 'true' : undefined}>
        <Thumb image={task.images?.[0] ?? null} status={status} />
        <span class="task-row-name">
          <span class="task-row-source" title={source.id}>
            {source.id}
          </span>
          <span class="task-row-detail">
            <span class="task-row-index">picture {imageIndex + 1}</span>
            <span class="task-row-engine">{detail}</span>
          </span>
        </span>
        <StatusBadge status={status} />
        <time class="task-row-age" dateTime={createdAt}>
          {toAge(now - Date.parse(createdAt))}
        </time>
      </a>
    </li>
  )
}
