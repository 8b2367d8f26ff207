/** The log for people: a banner, a line for each event of a task, and other lines by pino-pretty. */
import { stripVTControlCharacters, styleText } from 'node:util'
import type { DestinationStream } from 'pino'
import pretty from 'pino-pretty'

/** What the service logs once it accepts requests: the field `ready`. */
export interface Ready {
  readonly version: string
  readonly mode: 'LIVE' | 'SANDBOX'
  readonly url: string
  /** Whether the console is served. */
  readonly console: boolean
  /** The URLs of the upstreams; empty for the built-in sandbox. */
  readonly upstream: string
}

/** What is read of a line of the log. */
interface Line {
  readonly level: number
  readonly time: number
  readonly correlationId?: string
  readonly ready?: Ready
  /** In lines about the mode: the banner shows it. */
  readonly mode?: string
  /** In lines of an event of a task, with the fields of TaskEvent. */
  readonly note?: string
}

interface TaskEvent extends Line {
  readonly taskId: string
  readonly status: string
  readonly sourceTaskId: string
  readonly imageIndex: number
  readonly failure: { readonly code: string } | null
  readonly note: string
}

const isEvent = (line: Line): line is TaskEvent => line.note !== undefined && 'sourceTaskId' in line

interface TerminalOptions {
  readonly color: boolean
  /** True: no line is omitted (LOG_LEVEL=debug). */
  readonly details: boolean
  write(text: string): unknown
}

const WARN = 40

/**
 * A destination for the logger. Unless `details`, it omits what only the JSON log needs: the details of
 * requests, and everything below a warning until the banner is shown.
 */
export function createTerminal({ color, details, write }: TerminalOptions): DestinationStream {
  const paint: Paint = (format, text) => (color ? styleText(format, text, { validateStream: false }) : text)
  const toPretty = pretty.prettyFactory({
    colorize: color,
    translateTime: 'SYS:HH:MM:ss',
    ignore: 'pid,hostname',
    singleLine: !details,
  })
  let isReady = false
  const toText = (line: Line): string => {
    if (line.ready) {
      isReady = true
      return toBanner(line.ready, paint)
    }
    if (isEvent(line) && !details) return toEventLine(line, paint)
    if (details) return toPretty(line)
    const isShown = line.level >= WARN || (isReady && line.correlationId === undefined)
    return isShown && line.mode === undefined ? toPretty(line) : ''
  }
  return {
    write(text) {
      const shown = toText(JSON.parse(text) as Line)
      if (shown) write(shown)
    },
  }
}

type Paint = (format: Parameters<typeof styleText>[0], text: string) => string

function toBanner({ version, mode, url, console, upstream }: Ready, paint: Paint): string {
  const about =
    mode === 'LIVE'
      ? paint('yellow', `LIVE: every new upscale costs credits (${upstream})`)
      : `${paint('green', 'SANDBOX')}: upscales are simulated and cost nothing`
  const rows: [string, string][] = [
    ...(console ? [['Console', paint('cyan', `${url}/console`)] as [string, string]] : []),
    ['GraphQL', paint('cyan', `${url}/graphql`)],
    ...(mode === 'SANDBOX' ? [['Demo', 'npm run demo'] as [string, string]] : []),
  ]
  const lines = rows.map(([name, value]) => `  ${paint('dim', name.padEnd(9))}${value}`)
  return ['', `  ${paint('bold', 'Upscale gateway')} ${version}  ${about}`, '', ...lines, '', ''].join('\n')
}

const STATUS_COLORS: Readonly<Record<string, 'yellow' | 'blue' | 'green' | 'red'>> = {
  SUBMITTED: 'yellow',
  PROCESSING: 'blue',
  SUCCEEDED: 'green',
  FAILED: 'red',
}
/** The length of the longest status. */
const STATUS_LENGTH = 10

function toEventLine(
  { time, taskId, status, sourceTaskId, imageIndex, failure, note }: TaskEvent,
  paint: Paint,
): string {
  const at = new Date(time).toTimeString().slice(0, 8)
  const shownStatus = paint(STATUS_COLORS[status] ?? 'white', status.padEnd(STATUS_LENGTH))
  // The source task id is the caller's text.
  const picture = `${stripVTControlCharacters(sourceTaskId)}#${imageIndex}`
  const reason = failure ? `${failure.code}: ${note}` : note
  return `${paint('dim', at)}  ${shownStatus}  ${picture}  ${paint('dim', taskId)}  ${reason}\n`
}
