import { toDeliveryBody } from './delivery-body.ts'
import { createTally } from './delivery-room.ts'
import type { Attempt, Delivery, DeliveryAnswer, Outbox } from './delivery.ts'
import type { TaskDependencies } from './ports.ts'

/** How long after each failed attempt the next one follows; after those that follow, the last. */
const RETRY_AFTER_MS = [5_000, 30_000, 120_000, 600_000, 3_600_000, 21_600_000]
/** A receiver may ask for a wait of its own, between these. */
const MIN_WAIT_MS = 1_000
const MAX_WAIT_MS = 86_400_000
/** Longer than an attempt can take. */
const LEASE_MS = 12_000
const BATCH = 8
/** A receiver that is slow keeps so many attempts busy, or a batch more, and holds up no other. */
const MAX_RUNNING_PER_HOST = 16
/** An owner whose receivers are slow keeps so many busy, however many hosts they are, and holds up no other. */
const MAX_RUNNING_PER_OWNER = 100
const MAX_RUNNING = 1_000

export type DeliverRound = () => Promise<Promise<void>[]>

/**
 * Makes the function that goes one round of telling callers' servers: starts every attempt that is due and for
 * which there is room. Resolves to what it started, all of which ends by itself and never rejects.
 */
export function createDeliverRound(deps: TaskDependencies): DeliverRound {
  const { outbox, clock, log, deliveryAlarm } = deps
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
      log.warn({ err: error, taskId, host }, 'a delivery could not be recorded; the lease brings it back')
    } finally {
      const wasFull = running >= MAX_RUNNING || hosts.isFull(host) || owners.isFull(owner)
      running -= 1
      hosts.remove(host)
      owners.remove(owner)
      // Others may have waited for the room.
      if (wasFull) deliveryAlarm.ring()
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

/** One attempt: reads, signs, sends, records. Resolves to the status that the receiver answered; null: it did not. */
async function deliver(deps: TaskDependencies, delivery: Delivery): Promise<number | null> {
  const { store, outbox, signer, sender, clock, log, policy } = deps
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
  // The service ends, which is not the receiver's fault: the next process may try at once.
  if (answer === 'cut short') return unrecorded(outbox, delivery)
  const result = toAttempt(delivery, answer, clock.now(), policy.deliverForMs)
  deps.onDelivery?.(result.state.toLowerCase())
  const { host } = new URL(delivery.url)
  const facts = { taskId: task.id, version: task.version, host, ...result, answer }
  if (result.state === 'DELIVERED') log.info(facts, 'a callback was delivered')
  else log.warn(facts, 'a callback was not delivered')
  await outbox.finish(delivery, result)
  return result.lastStatusCode
}

/** Ends the lease, and leaves everything else as it is. */
async function unrecorded(outbox: Outbox, delivery: Delivery): Promise<null> {
  await outbox.finish(delivery, delivery)
  return null
}

/**
 * What an attempt means for the delivery. Waits that the receiver asks for do not use up the schedule. Nothing is given up
 * before the total time, 410 aside; the last attempt of the schedule comes at its end.
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
