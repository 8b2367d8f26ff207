/** What clients see: streams, introspection, GraphiQL, the sandbox. */
import { duration, onOff, optional, rate, text } from './values.ts'

export const interfaceSettings = {
  reassertMs: duration
    .prefault('15000')
    .describe('How often a stream repeats its state while nothing changes.'),
  introspection: optional(onOff).describe(
    'Whether introspection is served. Default: `on` in sandbox mode, `off` in live mode. `_service` always is.',
  ),
  graphiql: optional(onOff).describe(
    'Whether GraphiQL is served. Default: `on` in sandbox mode, `off` in live mode.',
  ),
  sandboxImages: optional(text).describe(
    'A folder of pictures for the sandbox. Default: the sandbox draws pictures.',
  ),
  sandboxRateLimit: rate
    .prefault('0')
    .describe(
      "The limit of submits to the sandbox, to simulate that of the upstream's account. `0`: no limit. Further submits are answered with HTTP 429 and `Retry-After`. Each process counts its own.",
    ),
}
