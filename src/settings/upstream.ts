/** The engines, and how tasks are sent, polled and kept. */
import { API_KEY, engineKeys, engineRates, engines } from './engines.ts'
import { baseUrl } from './urls.ts'
import { duration, integer, list, onOff, optional, rate } from './values.ts'

export const UPSTREAM = 'https://api.kie.ai'

export const upstreamSettings = {
  upstreamApiKey: list
    .refine(
      (keys) => keys.every((key) => API_KEY.test(key)) && new Set(keys).size === keys.length,
      'must be one word of printable ASCII: the key alone, without "Bearer"; several are separated by commas, each once',
    )
    .default([])
    .describe(
      'The kie.ai key; without it and `ENGINE_KEYS` the service runs in sandbox mode, which costs nothing. Several, separated by commas, [while one is replaced](docs/runbook.md#rotate-secrets): the first is used; when the upstream refuses it, the next.',
    ),
  engines: engines
    .prefault('kie-midjourney')
    .describe(
      'The engines that upscale, separated by commas; the first is the default. `kie-midjourney`, `kie-jobs`, `midjourney-proxy`, `legnext`, each optionally as `NAME=ADAPTER:URL`: see [engines](docs/engines.md).',
    ),
  engineKeys: engineKeys
    .default(new Map())
    .describe(
      'The keys of engines, such as `legnext=KEY`, separated by commas. Several for one engine, such as `legnext=NEW,legnext=OLD`, are used like several of `UPSTREAM_API_KEY`. Default for the adapters `kie-midjourney` and `kie-jobs`, unless the engine has a name and a URL of its own: `UPSTREAM_API_KEY`. In live mode each engine needs a key.',
    ),
  engineRateLimits: engineRates
    .default(new Map())
    .describe(
      'Limits of new submits per engine, such as `legnext=20/10s`, separated by commas. Default: `UPSTREAM_RATE_LIMIT` for each engine.',
    ),
  engineFallback: onOff
    .prefault('off')
    .describe(
      '`on`: if an engine is unavailable and nothing was charged, the task moves on to the next engine that supports its input.',
    ),
  upstreamUrl: optional(baseUrl).describe(
    `The base of the engines \`kie-midjourney\` and \`kie-jobs\` without a URL in \`ENGINES\`. Default: \`${UPSTREAM}\`, and the built-in sandbox in sandbox mode.`,
  ),
  upstreamTimeoutMs: duration.prefault('30000').describe('How long the paid request may take.'),
  upstreamRateLimit: rate
    .prefault('20/10s')
    .describe(
      'The limit of new submits to each engine, for all owners together. `0`: no limit. `ENGINE_RATE_LIMITS` sets other limits for single engines.',
    ),
  upstreamWebhookKeys: list
    .refine((keys) => keys.every((key) => key !== ''), 'must be keys separated by commas')
    .default([])
    .describe(
      'The signing keys of callbacks, separated by commas (several while one is replaced). When set, a callback of `kie-midjourney` or `kie-jobs` without a valid signature is refused; other engines do not sign. The sandbox signs with the first.',
    ),
  upstreamWebhookWindowS: integer(1, 86_400)
    .prefault('300')
    .describe(
      'The maximum age of a signature, in seconds. A callback with an older signature only causes a poll.',
    ),
  callbackConfirm: onOff
    .prefault('off')
    .describe('`on`: the success of a callback counts only after a poll confirms it.'),
  pollIntervalMs: duration
    .prefault('30000')
    .describe(
      'How often a task without a callback is polled. A task older than ten intervals is polled after every tenth of its age, at most 2 minutes apart. All tasks together: `POLLS_PER_SECOND`.',
    ),
  pollsPerSecond: integer(1, 1_000)
    .prefault('5')
    .describe(
      'How many polls a second all replicas together send to the engines. If more tasks are due, they wait: `upscale_polls_overdue` counts them. Without callbacks, the number of running tasks divided by `POLL_INTERVAL_MS` (in seconds) must not exceed it.',
    ),
  taskDeadlineMs: duration
    .prefault('1800000')
    .describe(
      'How long a task may take (`deadlineAt`). At the deadline it is polled once more; without a result it fails, and is polled hourly for another day. Should be longer than `UPSTREAM_TIMEOUT_MS`.',
    ),
  taskRetentionDays: integer(0, 36_500)
    .transform((days) => (days === 0 ? null : days))
    .prefault('90')
    .describe('How many days settled tasks are kept. `0`: for ever.'),
}
