import { LATE_POLL_EVERY_MS, toDueAt, type Report } from './transitions.ts'
import { toFailure } from './failure.ts'
import { toImages } from './images.ts'
import type { Lookup, PollBudget, Schedule, TaskDependencies, TaskPolicy } from './ports.ts'
import type { Reporter } from './report.ts'
import { isSettled, type UpscaleTask } from './task.ts'

/** Right after it has accepted a task the upstream may not know it yet; from then on it should. */
const GRACE_MS = 60_000
/** A faulty deploy of the upstream must not fail every polled task: a task is lost only after this many … */
const MIN_ABSENCES = 4
/** … "unknown task" answers in a row, over at least this time. */
const MIN_ABSENT_MS = 180_000
/** The time between polls of one task grows up to this. */
const MAX_INTERVAL_MS = 120_000
/** A poll's lease outlasts the poll by this. */
const LEASE_MARGIN_MS = 1_000
/** The last poll, at the deadline, does not delay the end for longer than this. */
const LAST_POLL_TIMEOUT_MS = 5_000
const RETENTION_BATCH = 100
const KEY_BATCH = 1_000

/**
 * One round of polling: deletes a batch of tasks past retention and of expired keys, ends tasks that were never accepted and
 * are past their deadline, and starts as many polls as the budget allows. Resolves to the started polls, which end by
 * themselves and never reject. `cut` aborts them.
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
      .catch((error: unknown) => log.warn({ err: error }, 'failed to delete expired tasks'))
  await store
    .removeExpiredKeys(clock.now(), KEY_BATCH)
    .catch((error: unknown) => log.warn({ err: error }, 'failed to delete expired idempotency keys'))

  const started: Promise<void>[] = []
  for (;;) {
    const claimed = await claim(deps, budget).catch((error: unknown) => {
      log.warn({ err: error }, 'due tasks could not be claimed')
      return []
    })
    for (const task of claimed)
      started.push(
        poll(deps, report, task, cut).catch((error: unknown) => {
          log.warn({ err: error, taskId: task.id }, 'a poll failed; it is repeated when its lease ends')
        }),
      )
    if (claimed.length === 0) return started
  }
}

/** Claims as many due tasks as may be polled now. */
async function claim({ store, clock, policy }: TaskDependencies, budget: PollBudget): Promise<UpscaleTask[]> {
  const limit = await budget.take(policy.pollsPerSecond)
  if (limit === 0) return []
  const now = clock.now()
  const leaseUntil = now + policy.pollTimeoutMs + LEASE_MARGIN_MS
  const claimed = await store.claimDue(now, leaseUntil, limit, now + policy.deadlineMs)
  // A task without an upstream id cannot be polled, and uses no budget.
  const polled = claimed.filter(({ upstreamTaskId }) => upstreamTaskId !== null).length
  await budget.giveBack(limit - polled)
  return claimed
}

/**
 * Polls one claimed task and reports the answer. A claim always ends in a reschedule, whatever the answer was, and a
 * task past its deadline always ends: a task is never polled for ever.
 */
async function poll(
  deps: TaskDependencies,
  report: Reporter,
  task: UpscaleTask,
  cut: AbortSignal,
): Promise<void> {
  const { store, clock, secrets, policy } = deps
  const correlationId = secrets.newId()
  const isLast = !isSettled(task) && clock.now() >= task.deadlineAt
  const lookup = await look(deps, task, isLast, correlationId)
  const at = clock.now()
  // The service is stopping and aborted the poll: another replica may poll at once.
  if (lookup.kind === 'unavailable' && cut.aborted) return store.reschedule(task, { ...task, dueAt: at })
  const absence = countAbsence(task, lookup, at)
  const news =
    toReport({ ...task, ...absence }, lookup, at, correlationId, policy.imageLifetimeMs) ??
    (isLast ? ({ kind: 'overdue', at, source: 'DEADLINE', correlationId } as const) : undefined)
  const current = news === undefined ? task : await report(task.id, news)
  const wishedAt = task.upstreamTaskId === null ? task.deadlineAt : at + toInterval(task, at, policy)
  const dueAt = toDueAt(current, wishedAt)
  await store.reschedule(task, { ...absence, dueAt })
}

/** Polls the upstream. A task without an upstream id cannot be polled; a poll that throws counts as no answer. */
async function look(
  { upscaler, policy, log }: TaskDependencies,
  { id, upstreamTaskId }: UpscaleTask,
  isLast: boolean,
  correlationId: string,
): Promise<Lookup> {
  if (upstreamTaskId === null) return { kind: 'unavailable' }
  const timeoutMs = isLast ? Math.min(LAST_POLL_TIMEOUT_MS, policy.pollTimeoutMs) : policy.pollTimeoutMs
  try {
    return await upscaler.lookup(upstreamTaskId, { timeoutMs, correlationId })
  } catch (error) {
    log.error({ err: error, taskId: id, correlationId }, 'a poll failed unexpectedly')
    return { kind: 'unavailable' }
  }
}

/** Counts "unknown task" answers in a row. An answer about the task resets the count; no answer keeps it. */
function countAbsence(
  task: UpscaleTask,
  lookup: Lookup,
  at: number,
): Pick<Schedule, 'absences' | 'absentSince'> {
  const { absences, absentSince } = task
  if (lookup.kind === 'unavailable') return { absences, absentSince }
  const inGrace = at < (task.history.at(-1)?.at ?? 0) + GRACE_MS
  if (lookup.kind !== 'absent' || inGrace) return { absences: 0, absentSince: null }
  return { absences: absences + 1, absentSince: absentSince ?? at }
}

/** The report that an answer leads to; undefined: none, poll again later. */
function toReport(
  task: UpscaleTask,
  lookup: Lookup,
  at: number,
  correlationId: string,
  imageLifetimeMs: number,
): Report | undefined {
  const { upstreamTaskId, absences, absentSince } = task
  if (upstreamTaskId === null) return undefined
  const facts = { at, source: 'POLL', upstreamTaskId } as const
  switch (lookup.kind) {
    case 'succeeded':
      return { ...facts, kind: 'succeeded', images: toImages(lookup.imageUrls, at, imageLifetimeMs) }
    case 'failed': {
      const failure = { ...lookup.failure, correlationId }
      // A code without a record may be a fault of the upstream's poll endpoint: a late success still counts.
      const failedBy = lookup.recorded ? 'UPSTREAM' : 'SILENCE'
      return { ...facts, kind: 'failed', failure, failedBy, note: 'the upscale failed' }
    }
    case 'absent': {
      const absentMs = at - (absentSince ?? at)
      if (absences < MIN_ABSENCES || absentMs < MIN_ABSENT_MS) return undefined
      // 422 means "unknown task" here, not what it means at submit.
      const upstreamCode = lookup.upstreamCode === 404 ? 404 : null
      const failure = { ...toFailure('UPSTREAM_NOT_FOUND', upstreamCode), correlationId }
      const minutes = Math.round(absentMs / 60_000)
      const note = `the upscale service did not know the task in ${absences} polls over ${minutes} minutes`
      return { ...facts, kind: 'failed', failure, failedBy: 'SILENCE', note }
    }
    case 'pending':
    case 'unavailable':
      return undefined
    default:
      return lookup satisfies never
  }
}

/**
 * How long until the next poll: a tenth of the task's age, so that a result is never late by more than that, but at
 * least the interval and at most two minutes; minus jitter, so that tasks that began together spread. Past the
 * deadline: hourly.
 */
function toInterval(task: UpscaleTask, at: number, { pollIntervalMs }: TaskPolicy): number {
  if (at >= task.deadlineAt) return LATE_POLL_EVERY_MS
  const longest = Math.max(pollIntervalMs, MAX_INTERVAL_MS)
  const interval = Math.min(Math.max((at - task.createdAt) / 10, pollIntervalMs), longest)
  return Math.round(interval * (0.9 + Math.random() * 0.1))
}
