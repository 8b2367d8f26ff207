import type { IncomingHttpHeaders } from 'node:http'

/** kie.ai's messages for its codes. */
const MESSAGES: Record<number, string> = {
  200: 'success',
  400: 'Bad Request',
  401: 'Unauthorized',
  402: 'Insufficient Credits',
  404: 'Not Found',
  408: 'Upstream is currently experiencing service issues. No result has been returned for over 10 minutes.',
  422: 'Validation Error',
  429: 'Rate Limited',
  433: 'Request Limit - Sub-key Usage Exceeds Limit',
  455: 'Service Unavailable',
  500: 'Server Error',
  501: 'Generation Failed',
  505: 'Feature Disabled',
}

export function toMessage(code: number): string {
  return MESSAGES[code] ?? 'Unknown'
}

/** The envelope of kie.ai's answers. */
export function toEnvelope(code: number, data: unknown = null) {
  return { code, msg: toMessage(code), data }
}

/** The key of kie.ai's header. */
export function toBearer({ authorization = '' }: IncomingHttpHeaders): string {
  return authorization.startsWith('Bearer ') ? authorization.slice('Bearer '.length) : ''
}

/** kie.ai's answer to a poll of a task that it does not know. */
export const UNKNOWN_RECORD = { code: 422, msg: 'recordInfo is null', data: null }
