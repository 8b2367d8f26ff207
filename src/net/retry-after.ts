/** The longest wait that GraphQL's Int can show. */
const MAX_WAIT_MS = 2_147_483_647

const DAY = '(?:0?[1-9]|[12][0-9]|3[01])'
const MONTH = '[A-Z][a-z]{2}'
const TIME = '[0-9]{2}:[0-5][0-9]:[0-5][0-9]'
/** The three forms of an HTTP-date (RFC 9110 §5.6.7), always in GMT. `Date.parse` alone accepts much more. */
const HTTP_DATE = new RegExp(
  `^[A-Z][a-z]{2,8},? ` +
    `(${DAY} ${MONTH} [0-9]{4} ${TIME}|${DAY}-${MONTH}-[0-9]{2} ${TIME}|${MONTH} {1,2}${DAY} ${TIME} [0-9]{4})` +
    `(?: GMT| UTC)?$`,
)

/** The milliseconds in a Retry-After header (RFC 9110 §10.2.3: seconds or a date); null if missing or invalid. */
export function parseRetryAfter(header: string | undefined, now: number): number | null {
  const text = header?.trim() ?? ''
  if (/^\d+$/.test(text)) return Math.min(MAX_WAIT_MS, Number(text) * 1_000)
  const at = Date.parse(`${HTTP_DATE.exec(text)?.[1] ?? ''} GMT`)
  return Number.isNaN(at) ? null : Math.min(MAX_WAIT_MS, Math.max(0, at - now))
}
