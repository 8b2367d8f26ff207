import { CODES, toFollowError, type FollowError, type GraphqlError } from './errors.ts'

/** The error of a response that is not successful: the first one of its body, or one of its status. */
export async function toHttpError(response: Response): Promise<FollowError> {
  const { status, headers } = response
  const body: unknown = await response.json().catch(() => null)
  const { errors } = (body ?? {}) as { readonly errors?: readonly GraphqlError[] }
  const retryable = status > 500 || status === 429
  return toFollowError(errors?.[0] ?? { message: `HTTP ${status}` }, {
    code: CODES[status] ?? (retryable ? 'SERVICE_UNAVAILABLE' : 'BAD_REQUEST'),
    retryable,
    // A date is ignored: the usual backoff applies.
    retryAfterMs: Number(headers.get('retry-after')) * 1_000 || null,
  })
}
