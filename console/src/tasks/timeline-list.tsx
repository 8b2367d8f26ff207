import { toClock, toDuration, toTime } from './formats.ts'
import type { OpenTask } from './task-documents.ts'
import { toTimeline } from './timeline.ts'
import { toStatusText } from './status-badge.tsx'

/** The history of a task, oldest first. */
export function TimelineList({ task }: { readonly task: OpenTask }) {
  return (
    <ol class="timeline">
      {toTimeline(task).map(({ at, status, isTurn, source, note, upstreamCode, sinceMs }, index) => (
        <li
          key={index}
          class={`timeline-step timeline-${status.toLowerCase()}${isTurn ? ' timeline-turn' : ''}`}
        >
          <div class="timeline-head">
            <strong>{isTurn ? toStatusText(status) : source}</strong>
            {isTurn && <span class="timeline-source">{source}</span>}
            {upstreamCode !== null && <span class="timeline-code">upstream code {upstreamCode}</span>}
            <span class="timeline-time">
              <time dateTime={at} title={toTime(at)}>
                {toClock(at)}
              </time>
              {sinceMs !== null && <span class="timeline-since">+{toDuration(sinceMs)}</span>}
            </span>
          </div>
          {note !== '' && <p>{note}</p>}
        </li>
      ))}
    </ol>
  )
}
