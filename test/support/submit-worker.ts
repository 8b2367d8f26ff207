/** Opens a store in a process of its own and submits the same request many times at once: see two-processes.test.ts. */
import { createLocalHints } from '../../src/hints/local.ts'
import { createLocalRateLimits } from '../../src/limits/local.ts'
import { openSqliteTaskStore } from '../../src/store/sqlite.ts'
import { systemClock, systemSecrets } from '../../src/system.ts'
import { createTasks } from '../../src/tasks/tasks.ts'
import { createUpscaler } from '../../src/upstream/upscaler.ts'
import { POLICY } from './policy.ts'

const [file = '', url = '', times = ''] = process.argv.slice(2)
const log = { info: () => undefined, warn: () => undefined, error: () => undefined }
const hints = createLocalHints()
await using store = await openSqliteTaskStore(file, hints)
using upscaler = createUpscaler({
  baseUrl: () => url,
  apiKey: 'key',
  timeoutMs: 2_000,
  clock: systemClock,
  log,
})
const tasks = createTasks({
  store,
  hints,
  upscaler,
  clock: systemClock,
  secrets: systemSecrets,
  limits: createLocalRateLimits({ upstream: null, owner: null }),
  log,
  alarm: { ring: () => undefined },
  policy: { ...POLICY, submitTimeoutMs: 2_000 },
  callbackUrl: () => null,
})
const request = {
  owner: 'owner',
  sourceTaskId: 'source',
  imageIndex: 0,
  waterMark: null,
  idempotencyKey: 'key',
  force: false,
  correlationId: 'c',
}
process.stdout.write('ready\n')
await new Promise((resolve) => process.stdin.once('data', resolve))
const submissions = await Promise.all(Array.from({ length: Number(times) }, () => tasks.submit(request)))
process.stdout.write(`${JSON.stringify(submissions.map(({ task, replayed }) => [task?.id, replayed]))}\n`)
process.stdin.destroy()
