import { StatusPill } from '../ui/badge.tsx'
import { toAge } from './formats.ts'
import type { ListedTask } from './task-documents.ts'
import { Thumb } from './thumb.tsx'

interface TaskRowProps {
  readonly task: ListedTask
  readonly href: string
  readonly now: number
  readonly isOpen: boolean
  /** It no longer has the status that the list is filtered by. */
  readonly hasLeft: boolean
}

/** A task in the list: a link to its details. */
export function TaskRow({ task, href, now, isOpen, hasLeft }: TaskRowProps) {
  const { id, source, imageIndex, engine, status, createdAt, queue, problem } = task
  return (
    <li class={hasLeft ? 'task-row task-row-left' : 'task-row'} data-task={id}>
      <a href={href} aria-current={isOpen ? 'true' : undefined}>
        <Thumb image={task.images?.[0] ?? null} status={status} />
        <span class="task-row-name">
          <span class="task-row-source">
            <span class="task-row-id" title={source.id}>
              {source.id}
            </span>
            <span class="task-row-index" title={`imageIndex ${imageIndex}`}>
              · {imageIndex + 1}
            </span>
          </span>
          <span class="task-row-detail">
            <span>{engine}</span>
            {problem && <span class="task-row-code">{problem.code}</span>}
          </span>
        </span>
        <StatusPill status={status} {...(queue && { text: `Waiting, ${queue.position}.` })} />
        <time class="task-row-age" dateTime={createdAt} title={new Date(createdAt).toLocaleString()}>
          {toAge(now - Date.parse(createdAt))}
        </time>
      </a>
    </li>
  )
}
