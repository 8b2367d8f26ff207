import pino, { type Logger } from 'pino'
import pretty from 'pino-pretty'
import type { LogLevel } from './settings.ts'

/** Never written to the log, wherever it turns up. */
const REDACTED = ['authorization', 'apiKey', 'token', 'paramJson', 'cookie'].flatMap((key) => [
  key,
  `*.${key}`,
  `*.*.${key}`,
])

/** JSON lines on standard output; on a terminal, lines for people. */
export function createLogger(level: LogLevel, terminal: boolean): Logger {
  const options = { level, redact: { paths: REDACTED, censor: '[redacted]' } }
  if (!terminal) return pino(options)
  return pino(options, pretty({ sync: true, translateTime: 'SYS:HH:MM:ss.l', ignore: 'pid,hostname' }))
}
