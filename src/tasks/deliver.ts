import { toDeliveryBody } from './delivery-body.ts'
import type { Attempt, Delivery, DeliveryAnswer } from './delivery.ts'
import type { TaskDependencies } from './ports.ts'

/** How long after each attempt the next one follows. After the last there is none. */
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
      await deliver(deps, delivery)
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
    while (running < MAX_RUNNING) {
      const now = clock.now()
      const except = { hosts: hosts.full(), owners: owners.full() }
      const claimed = await outbox.claimDue(now, now + LEASE_MS, BATCH, except)
      started.push(...claimed.map(attempt))
      if (claimed.length < BATCH) break
    }
    return started
  }
}

/** Counts by name, and tells which names have reached the limit. */
function createTally(limit: number) {
  const counts = new Map<string, number>()
  const get = (name: string) => counts.get(name) ?? 0
  return {
    add: (name: string) => void counts.set(name, get(name) + 1),
    remove(name: string) {
      if (get(name) > 1) counts.set(name, get(name) - 1)
      else counts.delete(name)
    },
    isFull: (name: string) => get(name) >= limit,
    full: () => [...counts.keys()].filter((name) => get(name) >= limit),
  }
}

/** One attempt: reads, signs, sends, records. */
async function deliver(deps: TaskDependencies, delivery: Delivery): Promise<void> {
  const { store, outbox, signer, sender, clock, log } = deps
  const task = await store.read(delivery.taskId)
  if (task === undefined) return
  // The task has moved on since: what is told is its latest state, under that state's own id.
  if (task.version !== delivery.version) return outbox.finish(delivery, delivery)
  const body = JSON.stringify(toDeliveryBody(task))
  const at = clock.now()
  const headers = signer.sign(task.owner, `${task.id}-${task.version}`, at, body)
  const answer: DeliveryAnswer | 'cut short' =
    headers === undefined
      ? { kind: 'unanswered', cause: 'there is no signing secret for its owner (any more)' }
      : await sender.send(delivery.url, headers, body)
  // We end, and it is not the receiver's fault: the next process may try at once.
  if (answer === 'cut short') return outbox.finish(delivery, delivery)
  const result = toAttempt(delivery, answer, clock.now())
  deps.onDelivery?.(result.state.toLowerCase())
  const { host } = new URL(delivery.url)
  const facts = { taskId: task.id, version: task.version, host, ...result, answer }
  if (result.state === 'DELIVERED') log.info(facts, 'a callback was delivered')
  else log.warn(facts, 'a callback was not delivered')
  await outbox.finish(delivery, result)
}

function toAttempt(delivery: Delivery, answer: DeliveryAnswer, now: number): Attempt {
  const attempts = delivery.attempts + 1
  const lastStatusCode = answer.kind === 'answered' ? answer.status : null
  const ended = (state: Attempt['state']): Attempt => ({ state, attempts, lastStatusCode, dueAt: null })
  if (lastStatusCode !== null && lastStatusCode >= 200 && lastStatusCode < 300) return ended('DELIVERED')
  const retryAfterMs = RETRY_AFTER_MS[delivery.attempts]
  // 410 Gone: the receiver wants no more.
  if (lastStatusCode === 410 || retryAfterMs === undefined) return ended('GAVE_UP')
  const asked = answer.kind === 'answered' && [429, 503].includes(answer.status) ? answer.retryAfterMs : null
  const wait =
    asked === null
      ? retryAfterMs * (0.9 + Math.random() * 0.2)
      : Math.min(Math.max(asked, MIN_WAIT_MS), MAX_WAIT_MS)
  return { state: 'PENDING', attempts, lastStatusCode, dueAt: Math.round(now + wait) }
}
