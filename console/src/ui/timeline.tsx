import type { ComponentChildren } from 'preact'
import type { Tone } from './badge.tsx'
import { Time } from './time.tsx'

interface TimelineEntry {
  /** ISO 8601. */
  readonly at: string
  readonly title: ComponentChildren
  readonly note?: ComponentChildren
  readonly tone?: Tone
}

/** What happened, oldest first. */
export function Timeline({ entries }: { entries: readonly TimelineEntry[] }) {
  return (
    <ol class="timeline">
      {entries.map(({ at, title, note, tone = 'neutral' }, index) => (
        <li key={index} class={`timeline-entry tone-${tone}`}>
          <div class="timeline-line">
            <span class="timeline-title">{title}</span>
            <Time at={at} />
          </div>
          {note !== undefined && <div class="timeline-note">{note}</div>}
        </li>
      ))}
    </ol>
  )
}
