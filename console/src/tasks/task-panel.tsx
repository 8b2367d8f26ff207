import type { ComponentChildren } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { StatusPill } from '../ui/badge.tsx'
import { LinkButton } from '../ui/button.tsx'
import { CodeChip } from '../ui/code-chip.tsx'
import { EmptyState } from '../ui/empty-state.tsx'
import { ErrorNote } from '../ui/error-note.tsx'
import { DeliveriesSection } from './deliveries-section.tsx'
import { FactsList } from './facts-list.tsx'
import { ProblemSection } from './problem-section.tsx'
import { TaskActions } from './task-actions.tsx'
import type { OpenTask } from './task-documents.ts'
import { TaskPictures } from './task-pictures.tsx'
import { TaskTimeline } from './task-timeline.tsx'
import { useCatalogue } from './use-catalogue.ts'
import { useOpenTask, type LiveTask } from './use-open-task.ts'

interface TaskPanelProps {
  readonly id: string
  /** The version of the task in the list; 0: it is not there. */
  readonly listedVersion: number
  readonly closeHref: string
  readonly onDeleted: (id: string) => void
}

/** The details of a task: beside the list on a wide page, in its place on a narrow one. */
export function TaskPanel({ id, listedVersion, closeHref, onDeleted }: TaskPanelProps) {
  const live = useOpenTask(id, listedVersion)
  const heading = useRef<HTMLHeadingElement>(null)
  const { task, isUnknown, failure } = live
  useEffect(() => heading.current?.focus({ preventScroll: true }), [id])
  return (
    <article class="task-panel" aria-label="Task" aria-busy={!task && !isUnknown && !failure}>
      <header class="task-panel-header">
        <LinkButton variant="ghost" icon="cross" label="Close the task" href={closeHref} />
        <h2 ref={heading} tabIndex={-1}>
          {task ? task.source.id : isUnknown ? 'Unknown task' : 'Task'}
          {task && <span class="task-row-index"> · {task.imageIndex + 1}</span>}
        </h2>
        {task && <StatusPill status={task.status} {...(task.queue && { text: 'Waiting' })} />}
      </header>
      {failure && <ErrorNote failure={failure} onRetry={live.reload} />}
      {isUnknown && (
        <EmptyState icon="warning" title="No task has this id">
          You have no task <code>{id}</code>. It may be deleted, or belong to another owner.
        </EmptyState>
      )}
      {task && <Details task={task} live={live} onDeleted={onDeleted} />}
    </article>
  )
}

interface DetailsProps {
  readonly task: OpenTask
  readonly live: LiveTask
  readonly onDeleted: (id: string) => void
}

function Details({ task, live: { apply, reload }, onDeleted }: DetailsProps) {
  const catalogue = useCatalogue()
  return (
    <>
      <dl class="task-ids">
        <div>
          <dt>Task id</dt>
          <dd>
            <CodeChip value={task.id} label="task id" />
          </dd>
        </div>
        {task.correlationId !== null && (
          <div>
            <dt>Correlation id</dt>
            <dd>
              <CodeChip value={task.correlationId} label="correlation id" />
            </dd>
          </div>
        )}
      </dl>
      {(task.status !== 'FAILED' || task.sourceImage) && <TaskPictures task={task} />}
      {task.problem && <ProblemSection problem={task.problem} catalogue={catalogue} />}
      <Section title="History">
        <TaskTimeline task={task} />
      </Section>
      <Section title="Deliveries">
        <DeliveriesSection key={task.id} task={task} apply={apply} />
      </Section>
      <Section title="Facts">
        <FactsList task={task} />
      </Section>
      <footer class="task-panel-footer">
        <TaskActions key={task.id} task={task} apply={apply} reload={reload} onDeleted={onDeleted} />
      </footer>
    </>
  )
}

function Section({ title, children }: { readonly title: string; readonly children: ComponentChildren }) {
  return (
    <section class="task-section">
      <h3>{title}</h3>
      {children}
    </section>
  )
}
