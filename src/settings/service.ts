/** The addresses, the log and the life cycle of the process. */
import * as z from 'zod'
import { baseUrl } from './urls.ts'
import { duration, host, integer, onOff, optional, port } from './values.ts'

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const

export const serviceSettings = {
  host: host.prefault('127.0.0.1').describe('The address to listen on.'),
  port: port.prefault('4000').describe('The port of the service.'),
  callbackPort: optional(port).describe(
    'A port for callbacks only. When it is set, callbacks are not served on `PORT`, so that GraphQL can stay private.',
  ),
  metricsPort: optional(port).describe(
    'A port for `/metrics`, which is then not served on `PORT`. It also serves `/livez` and `/readyz`. Set it to the number of `PORT` to serve `/metrics` on `PORT`. Default: `PORT` in sandbox mode; in live mode `/metrics` is not served.',
  ),
  publicUrl: optional(baseUrl).describe(
    "The base of callback URLs, as the upstream reaches this service. Default in sandbox mode: the service's own address. Absent in live mode: no callbacks, results are found by polling, with a warning.",
  ),
  keepAliveTimeoutMs: duration
    .prefault('620000')
    .describe(
      'How long an HTTP connection may be idle between two requests. It must be longer than the idle timeout of the load balancer in front (60 s on AWS, 600 s on GCP).',
    ),
  drainMs: integer(0, 600_000)
    .prefault('10000')
    .describe('How long running work may continue while the service stops.'),
  logLevel: z
    .enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(', ')}`)
    .prefault('info')
    .describe(
      `One of ${LOG_LEVELS.join(', ')}. The log is JSON lines. On a terminal it is text: at \`info\` a banner, a line for each event of a task, and warnings; at \`debug\` everything.`,
    ),
  accessLog: onOff
    .prefault('on')
    .describe(
      '`on`: each GraphQL operation is logged at `info` when it ends, with its name, duration and outcome code, and without its variables.',
    ),
}
