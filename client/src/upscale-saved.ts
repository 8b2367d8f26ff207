import type { UpscaleStorage } from './storage.ts'
import type { UpscaleImageInput } from './submit.ts'
import type { AnyTask } from './follow.ts'
import type { UpscaleTask } from './upscale-types.ts'

/** What survives a reload. */
export interface Saved {
  readonly id?: string | undefined
  /** The newest version that was shown: no older one is shown. */
  readonly version?: number
  readonly status?: string
  /** The settled version that `onSettled` was called for. */
  readonly settled?: number
  readonly watchToken?: string | null | undefined
  /** What was submitted, for `retry`. */
  readonly input?: UpscaleImageInput | undefined
  /** The idempotency key of a submit without an answer. It is sent again with this key. */
  readonly key?: string | undefined
  readonly startedAt?: number
}

/** A submit whose answer has not arrived. */
export interface Pending extends Saved {
  readonly input: UpscaleImageInput
  readonly key: string
}

/** Storage is best effort: it may be full, blocked, or throttled. The task is followed without it. */
export function readSaved(storage: UpscaleStorage | undefined): Saved {
  let text: string | null = null
  try {
    text = storage?.get() ?? null
    const saved = JSON.parse(text ?? '{}') as Saved | null
    if (typeof saved === 'object' && saved !== null) return saved
  } catch {
    // The text is an id, or could not be read.
  }
  return text ? { id: text } : {}
}

export function writeSaved(storage: UpscaleStorage | undefined, saved: Saved): void {
  try {
    storage?.set(saved.id === undefined && saved.key === undefined ? null : JSON.stringify(saved))
  } catch {
    // As above.
  }
}

/** The input of a task that was submitted elsewhere. */
export function toInput(task: AnyTask | null): UpscaleImageInput | undefined {
  const { source, imageIndex, waterMark } = (task ?? {}) as Partial<UpscaleTask>
  return source && imageIndex !== undefined ? { taskId: source.id, imageIndex, waterMark } : undefined
}

/** When a task began, and ended, by this device's clock, which may differ from the gateway's. */
export function toTimes(task: AnyTask, { startedAt }: Saved, now: number) {
  const { createdAt, settledAt } = task as Partial<UpscaleTask>
  const createdMs = createdAt ? Date.parse(createdAt) : now
  const start = startedAt ?? Math.min(now, createdMs)
  return {
    startedAt: start,
    endedAt: createdAt && settledAt ? start + Date.parse(settledAt) - createdMs : now,
  }
}
