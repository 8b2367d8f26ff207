import { STATUS_TONES } from '../ui/badge.tsx'
import { toDuration } from '../ui/format.ts'
import { Timeline } from '../ui/timeline.tsx'
import type { OpenTask } from './task-documents.ts'
import { toTimeline } from './timeline.ts'

/** The history of a task, oldest first. */
export function TaskTimeline({ task }: { readonly task: OpenTask }) {
  const entries = toTimeline(task).map(({ at, status, title, isTurn, source, ...step }) => ({
    at,
    title,
    tone: isTurn ? STATUS_TONES[status] : ('neutral' as const),
    note: (
      <>
        {step.note !== '' && <p>{step.note}</p>}
        <p class="task-history-facts">
          {title !== source && <span>by {source.toLowerCase()}</span>}
          {step.upstreamCode !== null && <span>upstream code {step.upstreamCode}</span>}
          {step.sinceMs !== null && <span>after {toDuration(step.sinceMs)}</span>}
        </p>
      </>
    ),
  }))
  return <Timeline entries={entries} />
}
