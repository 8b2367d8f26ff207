import type { DialectCode } from '../dialect.ts'

const everywhere = 'submit, poll, callback'

/** The codes of an error, in the body of an answer to a submit and in a failed job. */
export const CODES: readonly DialectCode[] = [
  {
    at: everywhere,
    upstreamCode: 400,
    meaning: 'Invalid parameters, or moderation.',
    code: 'UPSTREAM_BAD_REQUEST',
  },
  {
    at: everywhere,
    upstreamCode: 401,
    meaning: 'The API key is missing or invalid.',
    code: 'UPSTREAM_UNAUTHORIZED',
  },
  { at: everywhere, upstreamCode: 402, meaning: 'Insufficient credits.', code: 'INSUFFICIENT_CREDITS' },
  {
    at: everywhere,
    upstreamCode: 403,
    meaning: 'Sensitive content, or permission denied.',
    code: 'UPSTREAM_VALIDATION_FAILED',
  },
  { at: everywhere, upstreamCode: 404, meaning: 'Unknown or expired job.', code: 'UPSTREAM_NOT_FOUND' },
  { at: everywhere, upstreamCode: 413, meaning: 'A file is too large.', code: 'UPSTREAM_BAD_REQUEST' },
  { at: everywhere, upstreamCode: 422, meaning: 'Validation failed.', code: 'UPSTREAM_VALIDATION_FAILED' },
  {
    at: everywhere,
    upstreamCode: 429,
    meaning: 'Too many requests, or too many running jobs.',
    code: 'UPSTREAM_RATE_LIMITED',
  },
  // In the answer to a submit it proves nothing.
  { at: 'poll, callback', upstreamCode: 500, meaning: 'Internal error.', code: 'UPSTREAM_SERVER_ERROR' },
]
