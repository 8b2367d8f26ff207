import type { UpscaleImageInput } from '../submit.ts'
import type { UpscaleStorage } from './storage.ts'

/** What survives a reload. */
export interface Saved {
  readonly id?: string | undefined
  /** The newest version that was shown: no older one is shown. */
  readonly version?: number
  /** The settled version that `onSettled` was called for. */
  readonly settled?: number
  readonly watchToken?: string | null | undefined
  /** What was submitted, for `retry`. */
  readonly input?: UpscaleImageInput | undefined
  /** The idempotency key of a submit without an answer. It is sent again with this key. */
  readonly key?: string | undefined
  /** When a submit may be sent: `retryAfterMs` after the refusal. */
  readonly notBefore?: number
  readonly startedAt?: number
}

/** Storage is best effort: it may be full, blocked, or throttled. The task is followed without it. */
export function readSaved(storage: UpscaleStorage | undefined): Saved {
  let text = ''
  try {
    text = storage?.get() ?? ''
    const saved = JSON.parse(text || '{}') as Saved | string | number | null
    if (typeof saved === 'object') return saved ?? {}
    text = String(saved)
  } catch {
    // The text is an id, or cannot be read.
  }
  const [id, version] = text.split('.')
  return { id, version: Number(version) }
}

export function writeSaved(storage: UpscaleStorage | undefined, saved: Saved): void {
  try {
    storage?.set(saved.id || saved.key ? JSON.stringify(saved) : null)
  } catch {
    // As above.
  }
}
