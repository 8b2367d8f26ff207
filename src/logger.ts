import pino, { type Logger } from 'pino'
import pretty from 'pino-pretty'
import type { LogLevel } from './settings.ts'

/** Names of what is never written to the log, wherever it turns up and however it is capitalised. */
const SECRET = new Set(['authorization', 'apikey', 'token', 'paramjson', 'cookie'])
/** What lies deeper is left out. */
const MAX_DEPTH = 5

/** Characters that may wait for the end of the turn. */
const MAX_BUFFERED = 8_192

/** JSON lines on standard output; on a terminal, lines for people. */
export function createLogger(level: LogLevel, terminal: boolean): Logger {
  // Not by pino's own `redact`, which parses its paths again for each line: a fifth of what a mutation allocated.
  const options = {
    level,
    formatters: { log: (fields: object) => hideIn(fields, 0) },
    serializers: { err: (shown: unknown) => shown },
  }
  if (!terminal) return pino(options, createDestination())
  return pino(options, pretty({ sync: true, translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname' }))
}

/**
 * Standard output, written to once for all lines of a turn of the event loop: the call takes longer than making a line.
 * `flush` writes at once, for a process that is about to end.
 */
function createDestination(): { write(line: string): void; flush(): void } {
  const output = pino.destination({ sync: true, minLength: MAX_BUFFERED })
  let waiting = false
  const flush = () => {
    waiting = false
    output.flushSync()
  }
  return {
    write(line) {
      output.write(line)
      if (waiting) return
      waiting = true
      setImmediate(flush)
    },
    flush,
  }
}

function hideIn(fields: object, depth: number): Record<string, unknown> {
  const shown: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields))
    shown[name] = SECRET.has(name.toLowerCase()) ? '[redacted]' : hide(value, depth + 1)
  return shown
}

/** As it is written, without the secrets in it. */
function hide(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (depth > MAX_DEPTH) return '[deeper]'
  if (Array.isArray(value)) return value.map((each) => hide(each, depth + 1))
  if (value instanceof Error) return hideIn(pino.stdSerializers.err(value), depth)
  return 'toJSON' in value ? value : hideIn(value, depth)
}
