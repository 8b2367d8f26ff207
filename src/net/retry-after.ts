/** The longest wait that GraphQL's Int can show. */
const MAX_WAIT_MS = 2_147_483_647

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
/**
 * The three forms of an HTTP-date (RFC 9110 §5.6.7), all of them in GMT: `Sun, 06 Nov 1994 08:49:37 GMT` …
 */
const IMF_DATE =
  /^[A-Z][a-z]{2}, (?<day>\d{1,2}) (?<month>[A-Z][a-z]{2}) (?<year>\d{4}) (?<time>\d\d:\d\d:\d\d)(?: GMT| UTC)?$/
/** … `Sunday, 06-Nov-94 08:49:37 GMT` … */
const RFC_850_DATE =
  /^[A-Z][a-z]{2,8}, (?<day>\d\d)-(?<month>[A-Z][a-z]{2})-(?<year>\d\d) (?<time>\d\d:\d\d:\d\d)(?: GMT| UTC)?$/
/** … and `Sun Nov  6 08:49:37 1994`, which names no zone. */
const ASCTIME_DATE =
  /^[A-Z][a-z]{2} (?<month>[A-Z][a-z]{2}) {1,2}(?<day>\d{1,2}) (?<time>\d\d:\d\d:\d\d) (?<year>\d{4})$/

/**
 * Milliseconds that a Retry-After header asks for (RFC 9110 §10.2.3: seconds or a date); null if it is
 * missing or invalid.
 */
export function parseRetryAfter(header: string | undefined, now: number): number | null {
  const text = header?.trim() ?? ''
  if (/^\d+$/.test(text)) return Math.min(MAX_WAIT_MS, Number(text) * 1_000)
  const at = parseHttpDate(text, now)
  return at === undefined ? null : Math.min(MAX_WAIT_MS, Math.max(0, at - now))
}

function parseHttpDate(text: string, now: number): number | undefined {
  const parts = (IMF_DATE.exec(text) ?? RFC_850_DATE.exec(text) ?? ASCTIME_DATE.exec(text))?.groups
  if (parts === undefined) return undefined
  const { day = '', month = '', year = '', time = '' } = parts
  const [hours = 0, minutes = 0, seconds = 0] = time.split(':').map(Number)
  const monthIndex = MONTHS.indexOf(month)
  if (monthIndex < 0 || hours > 23 || minutes > 59) return undefined
  const fullYear = year.length === 2 ? toFullYear(Number(year), now) : Number(year)
  return Date.UTC(fullYear, monthIndex, Number(day), hours, minutes, seconds)
}

/** Two digits are the year that is not more than 50 years from now. */
function toFullYear(year: number, now: number): number {
  const current = new Date(now).getUTCFullYear()
  const inThisCentury = current - (current % 100) + year
  return inThisCentury > current + 50 ? inThisCentury - 100 : inThisCentury
}
