import { toFollowError, type FollowError, type GraphqlError } from './errors.ts'

/** Codes of responses without a body of ours, such as those of a proxy. */
const CODES: Record<number, string> = {
  401: 'UNAUTHENTICATED',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  413: 'PAYLOAD_TOO_LARGE',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  429: 'RATE_LIMITED',
  500: 'INTERNAL_SERVER_ERROR',
}

/** The error of a response that is not successful: the first one of its body, or one of its status. */
export async function toHttpError(response: Response): Promise<FollowError> {
  const { status, headers } = response
  const body: unknown = await response.json().catch(() => null)
  const { errors } = (body ?? {}) as { readonly errors?: readonly GraphqlError[] }
  const isTemporary = status > 500 || status === 429
  const retryAfterMs = toMs(headers.get('retry-after'))
  return toFollowError(errors?.[0] ?? { message: `The server answered with HTTP status ${status}.` }, {
    code: CODES[status] ?? (isTemporary ? 'SERVICE_UNAVAILABLE' : 'BAD_REQUEST'),
    retryable: isTemporary,
    ...(retryAfterMs !== null && { retryAfterMs }),
    correlationId: headers.get('x-correlation-id') ?? '',
  })
}

/** `Retry-After` is a number of seconds or a date. */
function toMs(retryAfter: string | null): number | null {
  if (retryAfter === null) return null
  const ms = Number(retryAfter) * 1_000 || Date.parse(retryAfter) - Date.now()
  return ms > 0 ? Math.round(ms) : null
}
