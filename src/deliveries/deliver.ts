import type { UpscaleTask } from '../tasks/task.ts'
import { toTaskAttributes } from '../tasks/tracing.ts'
import { toDeliveryBody } from './body.ts'
import { ConcurrencyLimits } from './concurrency.ts'
import type { Delivery, DeliveryAnswer, DeliveryDependencies } from './outbox.ts'
import { isSuccess, nextAttempt } from './schedule.ts'

/**
 * The lease of an attempt outlasts the sender's timeout by this: time to read the task and to record the
 * answer.
 */
const LEASE_MARGIN_MS = 2_000
const BATCH = 8
/** Attempts to one host at once (plus a batch at most), so that a slow receiver does not delay others. */
const MAX_RUNNING_PER_HOST = 16
/** Attempts for one owner at once, so that an owner with many slow hosts does not delay others. */
const MAX_RUNNING_PER_OWNER = 100
const MAX_RUNNING = 1_000

/** Starts due deliveries within the limits above, and runs the attempts. */
export class DeliveryWorker {
  readonly #deps: DeliveryDependencies
  readonly #hosts = new ConcurrencyLimits(MAX_RUNNING_PER_HOST)
  readonly #owners = new ConcurrencyLimits(MAX_RUNNING_PER_OWNER)
  #running = 0

  constructor(deps: DeliveryDependencies) {
    this.#deps = deps
  }

  /** Starts every due delivery. Resolves to the running attempts, which never reject. */
  async deliverDue(): Promise<Promise<void>[]> {
    const started: Promise<void>[] = []
    const claim = async (limit: number, exceptHosts: readonly string[]) => {
      const claimed = await this.#claim(limit, exceptHosts)
      started.push(...claimed.map((delivery) => this.#attempt(delivery)))
      return claimed.length === limit
    }
    const hosts = this.#hosts
    while (await claim(BATCH, [...hosts.full, ...hosts.lowered]));
    // One by one, because a batch could exceed a lowered limit.
    while (hosts.lowered.length > 0 && (await claim(1, hosts.full)));
    return started
  }

  async #claim(limit: number, exceptHosts: readonly string[]): Promise<Delivery[]> {
    if (this.#running >= MAX_RUNNING) return []
    const { outbox, clock, sender } = this.#deps
    const now = clock.now()
    const except = { hosts: exceptHosts, owners: this.#owners.full }
    return outbox.claimDue(now, now + sender.timeoutMs + LEASE_MARGIN_MS, limit, except)
  }

  async #attempt(delivery: Delivery): Promise<void> {
    const { owner, taskId } = delivery
    const { host } = new URL(delivery.url)
    this.#running += 1
    this.#hosts.start(host)
    this.#owners.start(owner)
    let task: UpscaleTask | undefined
    try {
      task = await this.#deps.store.read(taskId)
      const status = task === undefined ? null : await deliver(this.#deps, delivery, task)
      if (status === 429) this.#hosts.lower(host)
      else if (isSuccess(status)) this.#hosts.raise(host)
    } catch (error) {
      const facts = { err: error, taskId, correlationId: task?.correlationId, host }
      this.#deps.log.warn(facts, 'failed to record a delivery; it is retried when its lease ends')
    } finally {
      const wasFull = this.#running >= MAX_RUNNING || this.#hosts.isFull(host) || this.#owners.isFull(owner)
      this.#running -= 1
      this.#hosts.end(host)
      this.#owners.end(owner)
      // Other deliveries may wait for this limit.
      if (wasFull) this.#deps.wake()
    }
  }
}

/** Makes one attempt: signs, sends, records. Resolves to the status of the answer; null: no answer. */
async function deliver(
  deps: DeliveryDependencies,
  delivery: Delivery,
  task: UpscaleTask,
): Promise<number | null> {
  const { outbox, signer, sender, clock, log, deliverForMs, toImageUrl } = deps
  const releaseLease = () => outbox.finish(delivery, delivery).then(() => null)
  // The task has changed since the claim: the next claim delivers its latest state, under that state's id.
  if (task.version !== delivery.version) return releaseLease()
  const body = JSON.stringify(toDeliveryBody(task, toImageUrl))
  const headers = signer.sign(task.owner, `${task.id}-${task.version}`, clock.now(), body)
  const answer =
    headers === undefined
      ? ({ kind: 'unanswered', cause: 'its owner has no signing secret' } as const)
      : await traceDelivery(deps, task, delivery, (traceparent) =>
          sender.send(delivery.url, { ...headers, ...traceparent }, body),
        )
  // The service is stopping, so this is not a failed attempt: another process may retry at once.
  if (answer === 'aborted') return releaseLease()
  const attempt = nextAttempt(delivery, answer, { now: clock.now(), deliverForMs, jitter: Math.random() })
  deps.onDelivery?.(attempt.state.toLowerCase())
  const { host } = new URL(delivery.url)
  const { id: taskId, version, correlationId } = task
  const facts = { taskId, version, correlationId, host, ...attempt, answer }
  if (attempt.state === 'DELIVERED') log.info(facts, 'a delivery succeeded')
  else log.warn(facts, 'a delivery failed')
  await outbox.finish(delivery, attempt)
  return attempt.lastStatusCode
}

/** Sends within a span of the task's trace, which the receiver can continue. */
function traceDelivery(
  { tracing }: DeliveryDependencies,
  task: UpscaleTask,
  { url, attempts }: Delivery,
  send: (headers: { readonly traceparent?: string }) => Promise<DeliveryAnswer | 'aborted'>,
): Promise<DeliveryAnswer | 'aborted'> {
  const { hostname, port, protocol } = new URL(url)
  const attributes = {
    'http.request.method': 'POST',
    'http.request.resend_count': attempts === 0 ? undefined : attempts,
    'server.address': hostname,
    'server.port': Number(port) || (protocol === 'https:' ? 443 : 80),
    'messaging.system': 'webhook',
    'messaging.operation.name': 'send',
    'messaging.operation.type': 'send',
    'messaging.message.id': `${task.id}-${task.version}`,
    ...toTaskAttributes(task),
  }
  const { traceparent } = task
  return tracing.run({ name: 'POST delivery', kind: 'client', traceparent, attributes }, async (span) => {
    const answer = await send(span.traceparent === null ? {} : { traceparent: span.traceparent })
    if (answer === 'aborted' || answer.kind === 'unanswered') span.fail('unanswered')
    else {
      span.set({ 'http.response.status_code': answer.status })
      if (!isSuccess(answer.status)) span.fail(String(answer.status))
    }
    return answer
  })
}
