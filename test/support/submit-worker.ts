/**
 * Opens a store in a process of its own and submits the same request many times at once: see
 * two-processes.test.ts.
 */
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { createMemoryLimiter } from '../../src/replicas/limiters.ts'
import { createLocalAccountLimit } from '../../src/replicas/account-limit.ts'
import { createRateLimits } from '../../src/replicas/rate-limits.ts'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import { systemClock, systemSecrets } from '../../src/system.ts'
import { createPollBudget } from '../../src/replicas/poll-budget.ts'
import { createTasks } from '../../src/tasks/tasks.ts'
import { openKieMidjourneyAlone } from './engines.ts'
import { POLICY } from './policy.ts'
import { NO_TRACING } from '../../src/tasks/tracing.ts'

const [file = '', url = '', times = ''] = process.argv.slice(2)
const log = { info: () => undefined, warn: () => undefined, error: () => undefined }
const hints = createLocalHints()
await using stores = await openSqlite(file, hints)
using engines = openKieMidjourneyAlone({ url, timeoutMs: 10_000, clock: systemClock, log })
const tasks = createTasks({
  store: stores.store,
  queueStore: stores.queueStore,
  deliveries: { add: () => Promise.resolve(false), wake: () => undefined },
  wakeQueue: () => undefined,
  wakeResults: () => undefined,
  hints,
  engines,
  clock: systemClock,
  secrets: systemSecrets,
  limits: createRateLimits({ engines: {}, owner: null }, systemClock, createMemoryLimiter, (_engine, rate) =>
    createLocalAccountLimit(systemClock, rate),
  ),
  budget: createPollBudget(systemClock, POLICY.pollsPerSecond),
  log,
  tracing: NO_TRACING,
  policy: { ...POLICY, submitTimeoutMs: 10_000 },
  callbackUrl: () => null,
})
const request = {
  owner: 'owner',
  engine: null,
  sourceTaskId: 'source',
  imageIndex: 0,
  waterMark: null,
  idempotencyKey: 'key',
  callBackUrl: null,
  force: false,
  queue: false,
  correlationId: 'c',
  traceparent: null,
}
process.stdout.write('ready\n')
await new Promise((resolve) => process.stdin.once('data', resolve))
const submissions = await Promise.all(Array.from({ length: Number(times) }, () => tasks.submit(request)))
process.stdout.write(`${JSON.stringify(submissions.map(({ task, replayed }) => [task?.id, replayed]))}\n`)
process.stdin.destroy()
