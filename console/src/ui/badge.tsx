import type { ComponentChildren } from 'preact'

export type Tone = 'neutral' | 'info' | 'success' | 'warning' | 'danger'

export function Badge({ tone = 'neutral', children }: { tone?: Tone; children: ComponentChildren }) {
  return <span class={`badge badge-${tone}`}>{children}</span>
}

export type TaskStatus = 'SUBMITTED' | 'PROCESSING' | 'SUCCEEDED' | 'FAILED'

const LOOKS: Readonly<Record<TaskStatus, { tone: Tone; text: string; isActive: boolean }>> = {
  SUBMITTED: { tone: 'warning', text: 'Submitted', isActive: true },
  PROCESSING: { tone: 'info', text: 'Processing', isActive: true },
  SUCCEEDED: { tone: 'success', text: 'Succeeded', isActive: false },
  FAILED: { tone: 'danger', text: 'Failed', isActive: false },
}

export const STATUS_TONES: Readonly<Record<TaskStatus, Tone>> = {
  SUBMITTED: LOOKS.SUBMITTED.tone,
  PROCESSING: LOOKS.PROCESSING.tone,
  SUCCEEDED: LOOKS.SUCCEEDED.tone,
  FAILED: LOOKS.FAILED.tone,
}

/** The status of a task; a dot beats while it has not settled. `text` replaces the name of the status. */
export function StatusPill({ status, text }: { status: TaskStatus; text?: string }) {
  const look = LOOKS[status]
  return (
    <span class={`badge badge-${look.tone}`}>
      <span class={look.isActive ? 'dot dot-active' : 'dot'} aria-hidden="true" />
      {text ?? look.text}
    </span>
  )
}
