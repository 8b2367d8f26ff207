import { toDeliveryBody } from './body.ts'
import { createTally } from './running.ts'
import type { Attempt, Delivery, DeliveryAnswer, Outbox } from './outbox.ts'
import type { DeliveryDependencies } from './deliveries.ts'

/** The wait after each failed attempt; later attempts use the last one. */
const RETRY_AFTER_MS = [5_000, 30_000, 120_000, 600_000, 3_600_000, 21_600_000]
/** The bounds of a wait that a receiver requests by `Retry-After`. */
const MIN_WAIT_MS = 1_000
const MAX_WAIT_MS = 86_400_000
/** Longer than an attempt can take. */
const LEASE_MS = 12_000
const BATCH = 8
/** Attempts to one host at once (plus a batch at most), so that a slow receiver does not delay others. */
const MAX_RUNNING_PER_HOST = 16
/** Attempts for one owner at once, so that an owner with many slow hosts does not delay others. */
const MAX_RUNNING_PER_OWNER = 100
const MAX_RUNNING = 1_000

export type DeliverDue = () => Promise<Promise<void>[]>

/**
 * Makes a function that starts every due delivery within the limits above. It resolves to the started attempts, which end
 * by themselves and never reject.
 */
export function createDeliverDue(deps: DeliveryDependencies): DeliverDue {
  const { outbox, clock, log, wake } = deps
  const hosts = createTally(MAX_RUNNING_PER_HOST)
  const owners = createTally(MAX_RUNNING_PER_OWNER)
  let running = 0

  const attempt = async (delivery: Delivery) => {
    const { owner, taskId } = delivery
    const { host } = new URL(delivery.url)
    running += 1
    hosts.add(host)
    owners.add(owner)
    try {
      const status = await deliver(deps, delivery)
      if (status === 429) hosts.slowDown(host)
      else if (status !== null && isSuccess(status)) hosts.speedUp(host)
    } catch (error) {
      log.warn({ err: error, taskId, host }, 'failed to record a delivery; it is retried when its lease ends')
    } finally {
      const wasFull = running >= MAX_RUNNING || hosts.isFull(host) || owners.isFull(owner)
      running -= 1
      hosts.remove(host)
      owners.remove(owner)
      // Other deliveries may wait for a free place.
      if (wasFull) wake()
    }
  }
  return async () => {
    const started: Promise<void>[] = []
    const claim = async (limit: number, hostsLeftOut: readonly string[]) => {
      if (running >= MAX_RUNNING) return false
      const now = clock.now()
      const except = { hosts: hostsLeftOut, owners: owners.full() }
      const claimed = await outbox.claimDue(now, now + LEASE_MS, limit, except)
      started.push(...claimed.map(attempt))
      return claimed.length === limit
    }
    while (await claim(BATCH, [...hosts.full(), ...hosts.slowed()]));
    // One by one, because a batch could be more than a slowed host may have.
    while (hosts.slowed().length > 0 && (await claim(1, hosts.full())));
    return started
  }
}

/** One attempt: reads, signs, sends, records. Resolves to the status of the answer; null: no answer. */
async function deliver(deps: DeliveryDependencies, delivery: Delivery): Promise<number | null> {
  const { store, outbox, signer, sender, clock, log, deliverForMs } = deps
  const task = await store.read(delivery.taskId)
  if (task === undefined) return null
  // The task has moved on since: its latest state is delivered, under that state's own id.
  if (task.version !== delivery.version) return unrecorded(outbox, delivery)
  const body = JSON.stringify(toDeliveryBody(task))
  const headers = signer.sign(task.owner, `${task.id}-${task.version}`, clock.now(), body)
  const answer: DeliveryAnswer | 'cut short' =
    headers === undefined
      ? { kind: 'unanswered', cause: 'there is no signing secret for its owner (any more)' }
      : await sender.send(delivery.url, headers, body)
  // The service is stopping, so this is not a failed attempt: the next process may retry at once.
  if (answer === 'cut short') return unrecorded(outbox, delivery)
  const result = toAttempt(delivery, answer, clock.now(), deliverForMs)
  deps.onDelivery?.(result.state.toLowerCase())
  const { host } = new URL(delivery.url)
  const facts = { taskId: task.id, version: task.version, host, ...result, answer }
  if (result.state === 'DELIVERED') log.info(facts, 'a callback was delivered')
  else log.warn(facts, 'a callback was not delivered')
  await outbox.finish(delivery, result)
  return result.lastStatusCode
}

/** Ends the lease without recording an attempt. */
async function unrecorded(outbox: Outbox, delivery: Delivery): Promise<null> {
  await outbox.finish(delivery, delivery)
  return null
}

/**
 * Turns the answer into the delivery's next state. A wait that the receiver requests does not use up a step of the schedule.
 * Only a 410 gives up before the total time has passed; the last attempt is made at its end.
 */
function toAttempt(delivery: Delivery, answer: DeliveryAnswer, now: number, deliverForMs: number): Attempt {
  const attempts = delivery.attempts + 1
  const lastStatusCode = answer.kind === 'answered' ? answer.status : null
  const { failures, owedSince } = delivery
  const facts = { attempts, failures, lastStatusCode }
  if (lastStatusCode !== null && isSuccess(lastStatusCode))
    return { ...facts, state: 'DELIVERED', dueAt: null }
  const leftMs = (owedSince ?? now) + deliverForMs - now
  // 410 Gone: the receiver wants no more.
  if (lastStatusCode === 410 || leftMs <= 0) return { ...facts, state: 'GAVE_UP', dueAt: null }
  const asked = answer.kind === 'answered' && [429, 503].includes(answer.status) ? answer.retryAfterMs : null
  if (asked !== null) {
    const wait = Math.min(Math.max(asked, MIN_WAIT_MS), MAX_WAIT_MS)
    return { ...facts, state: 'PENDING', dueAt: now + wait }
  }
  const scheduled = RETRY_AFTER_MS[Math.min(failures, RETRY_AFTER_MS.length - 1)] ?? MAX_WAIT_MS
  const wait = Math.max(Math.min(scheduled * (0.9 + Math.random() * 0.2), leftMs), MIN_WAIT_MS)
  return { ...facts, failures: failures + 1, state: 'PENDING', dueAt: Math.round(now + wait) }
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300
}
