import type { DialectCode } from '../dialect.ts'

const at = 'submit'

/** The codes of an answer to a submit. A task that fails later has no code. */
export const CODES: readonly DialectCode[] = [
  { at, upstreamCode: 1, meaning: 'Submitted.', code: null },
  { at, upstreamCode: 21, meaning: 'The same upscale exists already; its task is the answer.', code: null },
  { at, upstreamCode: 22, meaning: 'Queued.', code: null },
  {
    at,
    upstreamCode: 3,
    meaning: 'The source task is unknown or has expired, or no account can serve it.',
    code: 'UPSTREAM_NOT_FOUND',
  },
  {
    at,
    upstreamCode: 4,
    meaning: 'The source task cannot be upscaled, such as an unfinished one.',
    code: 'UPSTREAM_VALIDATION_FAILED',
  },
  {
    at,
    upstreamCode: 9,
    meaning: 'Internal error. It does not prove that nothing ran, so the task is not sent again.',
    code: 'UPSTREAM_PROTOCOL_ERROR',
  },
  { at, upstreamCode: 23, meaning: 'The queue is full.', code: 'UPSTREAM_RATE_LIMITED' },
  { at, upstreamCode: 24, meaning: 'The prompt has a banned word.', code: 'UPSTREAM_VALIDATION_FAILED' },
]

/** The codes with which a task exists. */
export const ACCEPTED: ReadonlySet<number> = new Set(
  CODES.filter(({ code }) => code === null).map(({ upstreamCode }) => upstreamCode),
)
