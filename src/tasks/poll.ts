import type { TaskContext } from './context.ts'
import { toFailure } from './failure.ts'
import type { PollAnswer } from './engines/engine-ports.ts'
import { pollTask } from './engines/poll-task.ts'
import type { TaskPolicy } from './ports.ts'
import { toOutcomeReport } from './result.ts'
import { isSettled, type UpscaleTask } from './task.ts'
import { LATE_POLL_EVERY_MS, toDueAt } from './changes.ts'
import type { Report } from './report.ts'
import { toTaskAttributes } from './tracing.ts'

/** For this time after it accepted a task, the upstream may answer "unknown task". */
const GRACE_MS = 60_000
/**
 * A task fails as unknown only after this many "unknown task" answers in a row: a faulty deploy of the
 * upstream must not fail every polled task.
 */
const MIN_NOT_FOUND_COUNT = 4
/** The shortest time from the first to the last of these answers. */
const MIN_NOT_FOUND_MS = 180_000
/** The time between polls of one task grows up to this. */
const MAX_INTERVAL_MS = 120_000
/** A poll's lease outlasts the poll by this. */
const LEASE_MARGIN_MS = 1_000
/** The longest timeout of the last poll, which runs at the deadline. */
const LAST_POLL_TIMEOUT_MS = 5_000
const RETENTION_BATCH = 100
const KEY_BATCH = 1_000

/**
 * One round of polling: deletes a batch of tasks past retention and a batch of expired keys, fails tasks that
 * were not accepted before their deadline, and starts polls within the budget. Resolves to the running polls,
 * which never reject.
 */
export async function pollDue(context: TaskContext): Promise<Promise<void>[]> {
  const { store, clock, policy, log } = context
  const warn = (facts: object, sentence: string) => (error: unknown) =>
    log.warn({ err: error, ...facts }, sentence)
  if (policy.retentionMs !== null)
    await store
      .removeSettled(clock.now() - policy.retentionMs, RETENTION_BATCH)
      .catch(warn({}, 'failed to delete expired tasks'))
  await store
    .removeExpiredKeys(clock.now(), KEY_BATCH)
    .catch(warn({}, 'failed to delete expired idempotency keys'))

  const started: Promise<void>[] = []
  for (;;) {
    const claimed = (await claim(context).catch(warn({}, 'failed to claim due tasks'))) ?? []
    for (const task of claimed) {
      const onError = warn(
        { taskId: task.id, correlationId: task.correlationId },
        'a poll failed; it is repeated when its lease ends',
      )
      started.push(tracePoll(context, task).catch(onError))
    }
    if (claimed.length === 0) return started
  }
}

/** Claims as many due tasks as the poll budget allows. */
async function claim({ store, clock, policy, budget }: TaskContext): Promise<UpscaleTask[]> {
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

function tracePoll(context: TaskContext, task: UpscaleTask): Promise<void> {
  const { traceparent } = task
  const start = { name: 'poll', kind: 'internal', traceparent, attributes: toTaskAttributes(task) } as const
  return context.tracing.run(start, () => poll(context, task))
}

/**
 * Polls one claimed task and reports the answer. Every answer ends in a reschedule, and a task past its
 * deadline settles. So no task is polled for ever.
 */
async function poll(context: TaskContext, task: UpscaleTask): Promise<void> {
  const { store, clock, policy, report, log, aborting } = context
  const { engine, upstreamTaskId, correlationId } = task
  const isLast = !isSettled(task) && clock.now() >= task.deadlineAt
  const timeoutMs = isLast ? Math.min(LAST_POLL_TIMEOUT_MS, policy.pollTimeoutMs) : policy.pollTimeoutMs
  const answer: PollAnswer =
    upstreamTaskId === null
      ? { kind: 'unavailable' }
      : await pollTask(context, { engine, upstreamTaskId }, { timeoutMs, correlationId }).catch(
          (error: unknown) => {
            // A poll that fails unexpectedly must not keep a task from its deadline.
            log.error({ err: error, taskId: task.id, correlationId }, 'a poll failed unexpectedly')
            return { kind: 'unavailable' }
          },
        )
  const at = clock.now()
  // The service is stopping and aborted the poll: another replica may poll at once.
  if (answer.kind === 'unavailable' && aborting.aborted) return store.reschedule(task, { ...task, dueAt: at })
  const notFound = countNotFound(task, answer, at)
  const facts = { at, policy }
  const found =
    toReport({ ...task, ...notFound }, answer, facts) ?? (isLast ? toOverdue(task, at) : undefined)
  const current = found === undefined ? task : await report(task.id, found)
  const proposedAt =
    task.upstreamTaskId === null ? task.deadlineAt : at + toInterval(task, at, policy, Math.random())
  return store.reschedule(task, { ...notFound, dueAt: toDueAt(current, proposedAt) })
}

function toOverdue({ deadlineAt }: UpscaleTask, at: number): Report {
  return { kind: 'overdue', at, source: 'DEADLINE', deadlineAt }
}

/** Counts "unknown task" answers in a row. An answer about the task resets the count; no answer keeps it. */
function countNotFound(
  { notFoundCount, notFoundSince, history }: UpscaleTask,
  { kind }: PollAnswer,
  at: number,
) {
  if (kind === 'unavailable') return { notFoundCount, notFoundSince }
  const inGrace = at < (history.at(-1)?.at ?? 0) + GRACE_MS
  if (kind !== 'notFound' || inGrace) return { notFoundCount: 0, notFoundSince: null }
  return { notFoundCount: notFoundCount + 1, notFoundSince: notFoundSince ?? at }
}

/** Turns an answer into a report; undefined: poll again later. */
function toReport(
  { upstreamTaskId, correlationId, notFoundCount, notFoundSince }: UpscaleTask,
  answer: PollAnswer,
  { at, policy }: { readonly at: number; readonly policy: TaskPolicy },
): Report | undefined {
  if (upstreamTaskId === null) return undefined
  const facts = { at, source: 'POLL', upstreamTaskId } as const
  switch (answer.kind) {
    case 'succeeded':
      return toOutcomeReport(answer, facts, correlationId, policy)
    case 'failed': {
      const failed = toOutcomeReport(answer, facts, correlationId, policy)
      // A code without a record may be a fault of the upstream's poll endpoint: a late success still counts.
      return failed.kind === 'failed' && !answer.recorded ? { ...failed, failedBy: 'SILENCE' } : failed
    }
    case 'notFound': {
      const notFoundMs = at - (notFoundSince ?? at)
      if (notFoundCount < MIN_NOT_FOUND_COUNT || notFoundMs < MIN_NOT_FOUND_MS) return undefined
      // 422 means "unknown task" here, not what it means at submit.
      const upstreamCode = answer.upstreamCode === 404 ? 404 : null
      const failure = { ...toFailure('UPSTREAM_NOT_FOUND', upstreamCode), correlationId }
      const minutes = Math.round(notFoundMs / 60_000)
      const note = `the upscale service did not know the task in ${notFoundCount} polls over ${minutes} minutes`
      return { ...facts, kind: 'failed', failure, failedBy: 'SILENCE', note }
    }
    case 'pending':
    case 'unavailable':
      return undefined
    default:
      return answer satisfies never
  }
}

/**
 * The time until the next poll: a tenth of the task's age, so that a result is late by no more than that; at
 * least the configured interval, at most two minutes. Past the deadline: an hour. `jitter` (0 to 1) spreads
 * tasks that began together.
 */
function toInterval(task: UpscaleTask, at: number, { pollIntervalMs }: TaskPolicy, jitter: number): number {
  if (at >= task.deadlineAt) return LATE_POLL_EVERY_MS
  const longest = Math.max(pollIntervalMs, MAX_INTERVAL_MS)
  const interval = Math.min(Math.max((at - task.createdAt) / 10, pollIntervalMs), longest)
  return Math.round(interval * (0.9 + jitter * 0.1))
}
