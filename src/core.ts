import type { Backends } from './backends.ts'
import { createDeliveries, type Deliveries } from './deliveries/deliveries.ts'
import { openDeliverySender } from './deliveries/sender.ts'
import { createDeliverySigner } from './deliveries/signer.ts'
import type { DeliverySigner } from './deliveries/outbox.ts'
import { openEngineParts } from './engine-parts.ts'
import { toCallbackPath } from './http/callback.ts'
import type { Metrics } from './metrics/metrics.ts'
import type { Connector } from './net/outbound.ts'
import { openResultParts } from './result-parts.ts'
import { createRateLimits } from './replicas/rate-limits.ts'
import type { ResultLinks } from './results/links.ts'
import type { Results } from './results/results.ts'
import type { Servers } from './servers.ts'
import type { Settings } from './settings.ts'
import { systemSecrets } from './system.ts'
import type { Clock, Log, TaskPolicy } from './tasks/ports.ts'
import type { Engines } from './tasks/engines/engine-ports.ts'
import type { Tracing } from './tasks/tracing.ts'
import { createTasks, type Tasks } from './tasks/tasks.ts'
import { createAlarm, type Alarm } from './worker.ts'

const HOUR_MS = 3_600_000
/** A replay waits at most this long for a replica that has died. */
const ANSWER_LEASE_MS = 6_000

/** The operations on tasks and deliveries. Disposing aborts running requests. */
export interface Core extends Disposable {
  readonly tasks: Tasks
  readonly engines: Engines
  readonly deliveries: Deliveries
  readonly signer: DeliverySigner
  readonly queueAlarm: Alarm
  readonly deliveryAlarm: Alarm
  readonly results: Results
  readonly resultAlarm: Alarm
}

interface CoreOptions {
  readonly settings: Settings
  readonly backends: Backends
  readonly servers: Servers
  readonly metrics: Metrics
  /** The key of the embedded sandbox, which simulates the engines without a URL. */
  readonly sandboxKey: string
  readonly links: ResultLinks
  /** Name servers to use instead of the system's. */
  readonly nameServers: readonly string[]
  readonly circuitResetMs?: number | undefined
  readonly clock: Clock
  readonly log: Log & { info(sentence: string): void }
  readonly tracing: Tracing
  /** Opens connections to one dependency. */
  connect(): Connector
}

export function openCore(options: CoreOptions): Core {
  const { settings, backends, servers, metrics, links, clock, log, tracing } = options
  const { store, queueStore, outbox, hints, budget, createLimiter, createAccountLimit } = backends
  const opened = new DisposableStack()
  const engines = opened.use(openEngineParts(options))
  const signer = createDeliverySigner(toSigningSecrets(settings, log))
  const [queueAlarm, deliveryAlarm, resultAlarm] = [createAlarm(), createAlarm(), createAlarm()]
  const accounts = settings.engines.map(({ name, rateLimit }) => [name, rateLimit] as const)
  const rates = { engines: Object.fromEntries(accounts), owner: settings.ownerRateLimit }
  const limits = createRateLimits(rates, clock, createLimiter, createAccountLimit)
  const deliveries = createDeliveries({
    store,
    outbox,
    signer,
    sender: opened.use(openSender(options)),
    limits,
    clock,
    log,
    tracing,
    deliverForMs: settings.callbackRetryForS * 1_000,
    wake: () => deliveryAlarm.ring(),
    toImageUrl: links.toUrl,
    onDelivery: metrics.onDelivery,
    onRefusal: metrics.onRefusal,
  })
  const tasks = createTasks({
    store,
    queueStore,
    hints,
    engines,
    clock,
    secrets: systemSecrets,
    limits,
    budget,
    deliveries,
    wakeQueue: () => queueAlarm.ring(),
    wakeResults: () => resultAlarm.ring(),
    log,
    tracing,
    observer: metrics,
    policy: toPolicy(settings),
    callbackUrl(taskId, token) {
      const base = servers.publicUrl()
      return base && base + toCallbackPath(taskId, token)
    },
  })
  opened.defer(() => tasks.abort())
  const results = opened.use(openResultParts({ ...options, tasks, engines, alarm: resultAlarm }))
  const alarms = { queueAlarm, deliveryAlarm, resultAlarm }
  return { tasks, engines, deliveries, results, signer, ...alarms, [Symbol.dispose]: () => opened.dispose() }
}

function openSender({ settings, connect, clock }: CoreOptions) {
  const allowedHosts = settings.callbackAllowHosts
  return openDeliverySender({ timeoutMs: 10_000, allowedHosts, connector: connect(), clock })
}

function toPolicy(settings: Settings): TaskPolicy {
  const { upstreamTimeoutMs, taskRetentionDays } = settings
  return {
    deadlineMs: settings.taskDeadlineMs,
    pollIntervalMs: settings.pollIntervalMs,
    reassertMs: settings.reassertMs,
    imageLifetimeMs: 24 * HOUR_MS,
    idempotencyKeyLifetimeMs: 24 * HOUR_MS,
    submitTimeoutMs: upstreamTimeoutMs,
    answerLeaseMs: ANSWER_LEASE_MS,
    pollTimeoutMs: Math.min(upstreamTimeoutMs, 10_000),
    confirmTimeoutMs: 3_000,
    pollsPerSecond: settings.pollsPerSecond,
    confirmCallbacks: settings.callbackConfirm,
    inspectMs: settings.resultInspectMs,
    keepsCopies: settings.resultStore.kind !== 'off',
    queueLimit: settings.queueLimit,
    ownerWeights: settings.ownerWeights,
    engineFallback: settings.engineFallback,
    retentionMs: taskRetentionDays === null ? null : taskRetentionDays * 24 * HOUR_MS,
  }
}

/**
 * The secrets that are set. Without one, sandbox mode generates a secret and logs it, so that a receiver can
 * be tested.
 */
function toSigningSecrets({ mode, callbackSigningSecrets }: Settings, log: CoreOptions['log']) {
  if (mode === 'LIVE' || callbackSigningSecrets.length > 0) return callbackSigningSecrets
  const secret = systemSecrets.newSigningSecret()
  log.info(`CALLBACK_SIGNING_SECRETS is not set: deliveries are signed with ${secret} until the service ends`)
  return [{ owner: null, secret }]
}
