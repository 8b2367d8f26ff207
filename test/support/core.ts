import { createDeliveries } from '../../src/deliveries/deliveries.ts'
import { openDeliverySender } from '../../src/deliveries/sender.ts'
import { createDeliverySigner } from '../../src/deliveries/signer.ts'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import type { Rate } from '../../src/replicas/limit.ts'
import { createMemoryLimiter } from '../../src/replicas/limiters.ts'
import { openConnector } from '../../src/net/outbound.ts'
import { createLocalAccountLimit } from '../../src/replicas/account-limit.ts'
import { createRateLimits } from '../../src/replicas/rate-limits.ts'
import { systemSecrets } from '../../src/system.ts'
import type { Stores } from '../../src/store/sql.ts'
import type { TaskHints, TaskPolicy } from '../../src/tasks/ports.ts'
import { createPollBudget } from '../../src/replicas/poll-budget.ts'
import { createTasks } from '../../src/tasks/tasks.ts'
import type { SubmitInput } from '../../src/tasks/submit-input.ts'
import { openKieMidjourneyAlone } from './engines.ts'
import { ManualClock } from './clock.ts'
import { POLICY } from './policy.ts'
import { startScriptedUpstream } from './scripted-upstream.ts'
import { openTestDatabase, type TestDatabase } from './database.ts'
import { NO_TRACING } from '../../src/tasks/tracing.ts'

export const SIGNING_SECRET = 'whsec_c2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nzg5'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

export interface CoreOptions {
  readonly deliveryTimeoutMs?: number
  readonly deliverForMs?: number
  /** Opens the stores in another way than the service does. */
  readonly open?: (database: TestDatabase, hints: TaskHints) => Promise<Stores>
}

/** The core on a real store and a real upstream over HTTP, with a clock that the test moves. */
export async function openCore(
  policy: Partial<TaskPolicy> = {},
  rates: { readonly upstream?: Rate | null; readonly owner?: Rate | null } = {},
  { deliveryTimeoutMs = 20_000, deliverForMs = 86_400_000, open }: CoreOptions = {},
) {
  await using opened = new AsyncDisposableStack()
  const database = opened.use(await openTestDatabase())
  const upstream = opened.use(await startScriptedUpstream())
  const hints = createLocalHints()
  const { store, queueStore, outbox } = opened.use(
    await (open ? open(database, hints) : database.open(hints)),
  )
  const clock = new ManualClock()
  const engines = opened.use(openKieMidjourneyAlone({ url: upstream.url, clock, log: silent }))
  const allowedHosts = ['127.0.0.1', 'localhost']
  const sender = opened.use(
    openDeliverySender({
      timeoutMs: deliveryTimeoutMs,
      allowedHosts,
      connector: openConnector(),
      clock,
    }),
  )
  const limits = createRateLimits(
    { engines: { 'kie-midjourney': rates.upstream ?? null }, owner: rates.owner ?? null },
    clock,
    createMemoryLimiter,
    (_engine, rate) => createLocalAccountLimit(clock, rate),
  )
  const deliveries = createDeliveries({
    store,
    outbox,
    sender,
    signer: createDeliverySigner([{ owner: null, secret: SIGNING_SECRET }]),
    limits,
    clock,
    log: silent,
    tracing: NO_TRACING,
    deliverForMs,
    wake: () => undefined,
    toImageUrl: ({ images }, position) => images?.[position]?.url ?? '',
  })
  const tasks = createTasks({
    store,
    queueStore,
    hints,
    engines,
    clock,
    secrets: systemSecrets,
    limits,
    budget: createPollBudget(clock, { ...POLICY, ...policy }.pollsPerSecond),
    log: silent,
    tracing: NO_TRACING,
    deliveries,
    wakeQueue: () => undefined,
    wakeResults: () => undefined,
    policy: { ...POLICY, ...policy },
    callbackUrl: (id, token) => `http://gateway.example.com/${id}/${token}`,
  })
  const rest = opened.move()
  return {
    upstream,
    database,
    store,
    clock,
    tasks,
    deliveries,
    submit: (changes: Partial<SubmitInput> = {}) =>
      tasks.submit({
        owner: 'owner',
        engine: null,
        sourceTaskId: 'source',
        imageIndex: 0,
        waterMark: null,
        idempotencyKey: null,
        callBackUrl: null,
        force: true,
        queue: false,
        correlationId: 'correlation',
        traceparent: null,
        ...changes,
      }),
    outbox,
    queueStore,
    /** Cuts short what is being delivered, as at the end of the service. */
    endDeliveries: () => sender[Symbol.dispose](),
    /** One round of deliveries, to the end of the attempts it started; says how many there were. */
    async deliver() {
      const attempts = await deliveries.deliverDue()
      await Promise.all(attempts)
      return attempts.length
    },
    /** One round of polls, to the end of those it started; resolves to their number. */
    async round() {
      const polls = await tasks.pollDue()
      await Promise.all(polls)
      return polls.length
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
