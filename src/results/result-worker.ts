import type { UpscaleTask } from '../tasks/task.ts'
import { toTaskAttributes, type Tracing } from '../tasks/tracing.ts'
import { attempt, type AttemptDependencies } from './attempt.ts'
import { toAllKeys } from './copy-keys.ts'
import type { ResultJobs } from './jobs.ts'
import { LATEST_RETRY_MS } from './schedule.ts'

/** Attempts at once whose tasks wait for them to settle. */
const MAX_WAITING = 8
/**
 * All attempts at once: slow servers must not keep others waiting. Each can hold temporary files of 64 MiB.
 */
const MAX_RUNNING = 24
/** If a process dies, another takes over its attempts after this time, in milliseconds. */
const LEASE_MS = 10_000
const RENEW_BEFORE_MS = 6_000
/** The process of an attempt settles its task at the deadline; others wait this long before they do. */
const OVERDUE_GRACE_MS = 1_000
/** How often a process looks for overdue tasks, in milliseconds. */
const OVERDUE_EVERY_MS = 1_000
/** How long the deletion of files may take before another process repeats it. */
const DELETE_LEASE_MS = 120_000
/**
 * No deletion begins later than this in a lease: a file that is stored again after the lease must not be
 * deleted.
 */
const DELETE_FOR_MS = 60_000
/** How often a process looks for unused copies. */
const DELETE_EVERY_MS = 10_000
const BATCH = 100

interface ResultWorkerDependencies extends AttemptDependencies {
  readonly jobs: ResultJobs
  readonly tracing: Tracing
  /** Aborted when the service stops: attempts then end, and are due at once for other processes. */
  readonly stopping: AbortSignal
  /** Starts the next round now. */
  readonly wake: () => void
}

interface Lease {
  readonly taskId: string
  readonly correlationId: string
  /** When its task settles at the latest, in Unix milliseconds. */
  readonly settledBy: number
  until: number
  readonly lost: AbortController
}

/** Makes the attempts of results, and deletes unused copies. */
export class ResultWorker {
  readonly #deps: ResultWorkerDependencies
  readonly #leases = new Set<Lease>()
  /** When unused copies are deleted next, on the monotonic clock. */
  #deleteAt = -Infinity
  /** When overdue tasks are settled next, on the monotonic clock. */
  #settleOverdueAt = -Infinity

  constructor(deps: ResultWorkerDependencies) {
    this.#deps = deps
  }

  /** One round. Resolves to the work that it started, which never rejects. */
  async round(): Promise<Promise<void>[]> {
    const { log, clock } = this.#deps
    const warn = (sentence: string) => (error: unknown) => log.warn({ err: error }, sentence)
    await this.#settleOverdue().catch(warn('failed to settle tasks whose inspection is past its deadline'))
    await this.#renewLeases().catch(warn('failed to renew the leases of results'))
    const claimed = (await this.#claim().catch(warn('failed to claim due results'))) ?? []
    if (clock.elapsed() < this.#deleteAt) return claimed
    this.#deleteAt = clock.elapsed() + DELETE_EVERY_MS
    const deletion = this.#deleteUnused().catch(warn('failed to delete unused copies; it is retried'))
    return [deletion, ...claimed]
  }

  /** Deletes unused copies in the next round, which begins now. */
  deleteSoon(): void {
    this.#deleteAt = -Infinity
    this.#deps.wake()
  }

  /** Deletes the files of copies that no task uses. */
  async #deleteUnused(): Promise<void> {
    const { uses, copies, clock, log } = this.#deps
    if (copies === null) return
    const [now, endsAt] = [clock.now(), clock.elapsed() + DELETE_FOR_MS]
    const leaseUntil = now + DELETE_LEASE_MS
    for (const sha256 of await uses.claimUnused(now, leaseUntil, BATCH)) {
      if (clock.elapsed() > endsAt) return
      try {
        await copies.remove(toAllKeys(sha256))
        await uses.forget(sha256, leaseUntil)
      } catch (err) {
        log.warn({ err, sha256 }, 'failed to delete an unused copy; it is retried when the lease ends')
      }
    }
  }

  /** For results without a running attempt: its process has died, or all processes are busy. */
  async #settleOverdue(): Promise<void> {
    const { jobs, tasks, clock } = this.#deps
    // A callback starts a round, too.
    if (clock.elapsed() < this.#settleOverdueAt) return
    this.#settleOverdueAt = clock.elapsed() + OVERDUE_EVERY_MS
    for (const { id } of await jobs.listOverdue(clock.now() - OVERDUE_GRACE_MS, BATCH))
      await tasks.inspected(id, { images: [], retryAt: null, note: 'not inspected in time' })
  }

  async #renewLeases(): Promise<void> {
    const { jobs, clock } = this.#deps
    const now = clock.now()
    for (const lease of this.#leases) {
      if (lease.until - now > RENEW_BEFORE_MS) continue
      const { taskId, until } = lease
      lease.until = now + LEASE_MS
      if (!(await jobs.moveLease(taskId, until, lease.until)))
        lease.lost.abort(new Error('the lease is lost'))
    }
  }

  async #claim(): Promise<Promise<void>[]> {
    const { jobs, clock } = this.#deps
    const now = clock.now()
    const free = this.#countFree(now)
    if (free <= 0) return []
    const tasks = await jobs.claimDue(now, now + LEASE_MS, free, LATEST_RETRY_MS)
    return tasks.map((task) => this.#run(task))
  }

  /** How many attempts may begin. */
  #countFree(now: number): number {
    const waiting = [...this.#leases].filter(({ settledBy }) => now < settledBy)
    return Math.min(MAX_WAITING - waiting.length, MAX_RUNNING - this.#leases.size)
  }

  async #run(task: UpscaleTask): Promise<void> {
    const { stopping, clock, wake, tracing } = this.#deps
    const { id: taskId, correlationId, traceparent, resultDueAt, dueAt } = task
    const facts = { taskId, correlationId, settledBy: dueAt ?? 0, until: resultDueAt ?? 0 }
    const lease = { ...facts, lost: new AbortController() }
    this.#leases.add(lease)
    const attributes = { ...toTaskAttributes(task), 'upscale.result.attempt': task.resultAttempts + 1 }
    try {
      await tracing.run({ name: 'inspect', kind: 'internal', traceparent, attributes }, () =>
        attempt(this.#deps, task, AbortSignal.any([stopping, lease.lost.signal])),
      )
    } catch (error) {
      await this.#release(lease, error)
    } finally {
      const wasFull = this.#countFree(clock.now()) <= 0
      this.#leases.delete(lease)
      if (wasFull) wake()
    }
  }

  /** Handles a rejected attempt: a stopping service ends its lease at once, otherwise the lease runs out. */
  async #release({ taskId, correlationId, until, lost }: Lease, error: unknown): Promise<void> {
    const { jobs, clock, log, stopping } = this.#deps
    if (!stopping.aborted && !lost.signal.aborted) {
      log.warn(
        { err: error, taskId, correlationId },
        'an attempt at a result failed; it is retried when its lease ends',
      )
      return
    }
    if (stopping.aborted)
      await jobs
        .moveLease(taskId, until, clock.now())
        .catch((err: unknown) =>
          log.warn({ err, taskId, correlationId }, 'failed to end the lease of a result; it runs out'),
        )
  }
}
