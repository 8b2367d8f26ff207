/** The history of a task as the steps of a timeline. */
import type { OpenTask, TaskEvent, TaskStatus } from './task-documents.ts'

interface TimelineStep {
  readonly at: string
  readonly status: TaskStatus
  /** The new status, or the source if the status is the same as before. */
  readonly title: string
  /** Whether the status is another one than before: a turn of the task, not only a note. */
  readonly isTurn: boolean
  readonly source: string
  readonly note: string
  readonly upstreamCode: number | null
  /** Since the step before, in milliseconds; null for the first one. */
  readonly sinceMs: number | null
}

const SOURCES: Readonly<Record<TaskEvent['source'], string>> = {
  SUBMIT: 'Submit',
  CALLBACK: 'Callback',
  POLL: 'Poll',
  DEADLINE: 'Deadline',
  INSPECTION: 'Inspection',
  OWNER: 'Owner',
}

const STATUS_TEXTS: Readonly<Record<TaskStatus, string>> = {
  SUBMITTED: 'Submitted',
  PROCESSING: 'Processing',
  SUCCEEDED: 'Succeeded',
  FAILED: 'Failed',
}

export function toTimeline({ history }: Pick<OpenTask, 'history'>): readonly TimelineStep[] {
  return history.map(({ at, status, source, note, upstreamCode }, index) => {
    const before = history[index - 1]
    const isTurn = status !== before?.status
    return {
      at,
      status,
      title: isTurn ? STATUS_TEXTS[status] : SOURCES[source],
      isTurn,
      source: SOURCES[source],
      note: note?.toLowerCase() === STATUS_TEXTS[status].toLowerCase() ? '' : toSentence(note ?? ''),
      upstreamCode,
      sinceMs: before ? Math.max(0, Date.parse(at) - Date.parse(before.at)) : null,
    }
  })
}

function toSentence(note: string): string {
  const text = note.charAt(0).toUpperCase() + note.slice(1)
  return text === '' || /[.!?]$/.test(text) ? text : `${text}.`
}
