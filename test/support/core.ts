import { createLocalHints } from '../../src/hints/local.ts'
import { createLocalRateLimits, type RatePolicy } from '../../src/limits/local.ts'
import { openSqliteTaskStore } from '../../src/store/sqlite.ts'
import { systemSecrets } from '../../src/system.ts'
import type { TaskPolicy } from '../../src/tasks/ports.ts'
import { createTasks } from '../../src/tasks/tasks.ts'
import type { SubmitInput } from '../../src/tasks/submit.ts'
import { createUpscaler } from '../../src/upstream/upscaler.ts'
import { ManualClock } from './clock.ts'
import { POLICY } from './policy.ts'
import { startScriptedUpstream } from './scripted-upstream.ts'
import { openTempDir } from './temp-dir.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

/** The core on a real store and a real upstream over HTTP, with a clock that the test moves. */
export async function openCore(policy: Partial<TaskPolicy> = {}, rates: Partial<RatePolicy> = {}) {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const upstream = opened.use(await startScriptedUpstream())
  const hints = createLocalHints()
  const store = opened.use(await openSqliteTaskStore(`${dir.path}/core.db`, hints))
  const clock = new ManualClock()
  const upscaler = opened.use(
    createUpscaler({ baseUrl: () => upstream.url, apiKey: 'key', timeoutMs: 2_000, clock, log: silent }),
  )
  let rings = 0
  const tasks = createTasks({
    store,
    hints,
    upscaler,
    clock,
    secrets: systemSecrets,
    limits: createLocalRateLimits({ upstream: null, owner: null, ...rates }),
    log: silent,
    alarm: { ring: () => void (rings += 1) },
    policy: { ...POLICY, ...policy },
    callbackUrl: (id, token) => `http://gateway.example.com/${id}/${token}`,
  })
  const rest = opened.move()
  return {
    upstream,
    store,
    clock,
    tasks,
    rings: () => rings,
    submit: (changes: Partial<SubmitInput> = {}) =>
      tasks.submit({
        owner: 'owner',
        sourceTaskId: 'source',
        imageIndex: 0,
        waterMark: null,
        idempotencyKey: null,
        force: true,
        correlationId: 'correlation',
        ...changes,
      }),
    /** One round of the reconciler, to the end of the polls it started; says how many there were. */
    async round() {
      const polls = await tasks.reconcile()
      await Promise.all(polls)
      return polls.length
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
