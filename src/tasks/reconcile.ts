import { LATE_POLL_EVERY_MS, toDueAt, type Report } from './apply-report.ts'
import { toFailure } from './failure.ts'
import { toImages } from './images.ts'
import type { PollBudget } from './poll-budget.ts'
import type { Lookup, TaskDependencies, TaskPolicy } from './ports.ts'
import type { Reporter } from './report.ts'
import { isSettled, type UpscaleTask } from './task.ts'

/** Right after it has accepted a task the upstream may not know it yet; from then on it should. */
const GRACE_MS = 60_000
/** The time between polls of one task grows up to this. */
const MAX_INTERVAL_MS = 120_000
/** A poll's lease outlasts the poll by this. */
const LEASE_MARGIN_MS = 1_000
/** The last look, at the deadline, does not put the end off for longer than this. */
const LAST_LOOK_TIMEOUT_MS = 5_000
const RETENTION_BATCH = 100

/**
 * One round of looking after tasks: removes a batch of what is past retention, ends what was never accepted
 * and is past its deadline, and starts as many polls as the budget allows. Resolves to what it started, all
 * of which ends by itself and never rejects; a poll that fails once `cut` is aborted was cut short.
 */
export async function reconcile(
  deps: TaskDependencies,
  report: Reporter,
  budget: PollBudget,
  cut: AbortSignal,
): Promise<Promise<void>[]> {
  const { store, clock, policy, log } = deps
  if (policy.retentionMs !== null)
    await store
      .removeSettled(clock.now() - policy.retentionMs, RETENTION_BATCH)
      .catch((error: unknown) => log.warn({ err: error }, 'what is past retention could not be removed'))

  const started: Promise<void>[] = []
  for (;;) {
    const claimed = await claim(deps, budget).catch((error: unknown) => {
      log.warn({ err: error }, 'due tasks could not be claimed')
      return []
    })
    for (const task of claimed)
      started.push(
        lookAfter(deps, report, task, cut).catch((error: unknown) => {
          const facts = { err: error, taskId: task.id }
          log.warn(facts, 'a due task could not be looked after; the lease brings it back')
        }),
      )
    if (claimed.length === 0) return started
  }
}

/** Claims as many due tasks as may be asked about now. */
async function claim({ store, clock, policy }: TaskDependencies, budget: PollBudget): Promise<UpscaleTask[]> {
  const limit = await budget.take(policy.pollsPerSecond)
  if (limit === 0) return []
  const now = clock.now()
  const leaseUntil = now + policy.pollTimeoutMs + LEASE_MARGIN_MS
  const claimed = await store.claimDue(now, leaseUntil, limit, now + policy.deadlineMs)
  // What the upstream never named cannot be asked about, and costs no question.
  const asked = claimed.filter(({ upstreamTaskId }) => upstreamTaskId !== null).length
  await budget.giveBack(limit - asked)
  return claimed
}

/** Asks the upstream about one claimed task and takes in what it says. */
async function lookAfter(
  deps: TaskDependencies,
  report: Reporter,
  task: UpscaleTask,
  cut: AbortSignal,
): Promise<void> {
  const { store, upscaler, clock, secrets, policy } = deps
  const { upstreamTaskId } = task
  const correlationId = secrets.newId()
  const isLast = !isSettled(task) && clock.now() >= task.deadlineAt
  const expire = async () => {
    await report(task.id, { kind: 'overdue', at: clock.now(), source: 'DEADLINE', correlationId })
  }
  if (upstreamTaskId === null)
    return isLast ? expire() : store.reschedule(task, toDueAt(task, task.deadlineAt))

  const timeoutMs = isLast ? Math.min(LAST_LOOK_TIMEOUT_MS, policy.pollTimeoutMs) : policy.pollTimeoutMs
  const lookup = await upscaler.lookup(upstreamTaskId, { timeoutMs, correlationId })
  const at = clock.now()
  // Nobody has looked: another process does, at once.
  if (lookup.kind === 'unavailable' && cut.aborted) return store.reschedule(task, at)
  const news = toReport(task, lookup, at, correlationId, policy.imageLifetimeMs)
  if (news === undefined)
    return isLast ? expire() : store.reschedule(task, toDueAt(task, at + toInterval(task, at, policy)))
  await report(task.id, { ...news, at, source: 'POLL', upstreamTaskId })
}

type Settlement =
  | Pick<Extract<Report, { kind: 'succeeded' }>, 'kind' | 'images'>
  | Pick<Extract<Report, { kind: 'failed' }>, 'kind' | 'failure'>

/** What an answer settles; undefined: nothing, ask again later. */
function toReport(
  task: UpscaleTask,
  lookup: Lookup,
  at: number,
  correlationId: string,
  imageLifetimeMs: number,
): Settlement | undefined {
  switch (lookup.kind) {
    case 'succeeded':
      return { kind: 'succeeded', images: toImages(lookup.imageUrls, at, imageLifetimeMs) }
    case 'failed':
      return { kind: 'failed', failure: { ...lookup.failure, correlationId } }
    case 'absent': {
      if (at < (task.history.at(-1)?.at ?? 0) + GRACE_MS) return undefined
      const failure = toFailure('UPSTREAM_NOT_FOUND', lookup.upstreamCode)
      return { kind: 'failed', failure: { ...failure, correlationId } }
    }
    case 'pending':
    case 'unavailable':
      return undefined
    default:
      return lookup satisfies never
  }
}

/**
 * How long until the next poll: a tenth of the task's age, so that news is never late by more than that, but
 * from the interval to two minutes; a little less at random, so that tasks which began together part. Past the
 * deadline: hourly.
 */
function toInterval(task: UpscaleTask, at: number, { pollIntervalMs }: TaskPolicy): number {
  if (at >= task.deadlineAt) return LATE_POLL_EVERY_MS
  const longest = Math.max(pollIntervalMs, MAX_INTERVAL_MS)
  const interval = Math.min(Math.max((at - task.createdAt) / 10, pollIntervalMs), longest)
  return Math.round(interval * (0.9 + Math.random() * 0.1))
}
