import { toFailure } from './failure.ts'
import type { PollBudget } from './poll-budget.ts'
import type { Lookup, TaskDependencies } from './ports.ts'
import { toImages } from './images.ts'
import type { Reporter } from './report.ts'
import { toDueAt, type Report, type UpscaleTask } from './task.ts'

/** Right after creation the upstream may not know a task yet; from then on it should. */
const GRACE_MS = 60_000
/** The time between polls of one task grows up to this. */
const MAX_INTERVAL_MS = 120_000
/** A poll's lease outlasts the poll by this. */
const LEASE_MARGIN_MS = 1_000
const OVERDUE_BATCH = 100
const RETENTION_BATCH = 100

/**
 * One round of looking after tasks: fails those whose deadline has passed, starts as many polls as the
 * budget allows, and removes a batch of what is past retention. Resolves to the polls it started, each of
 * which ends by itself and never rejects.
 */
export async function reconcile(
  deps: TaskDependencies,
  report: Reporter,
  budget: PollBudget,
): Promise<Promise<void>[]> {
  const { store, clock, secrets, policy } = deps
  for (const { id } of await store.listOverdue(clock.now(), OVERDUE_BATCH))
    await report(id, { kind: 'overdue', at: clock.now(), source: 'DEADLINE', correlationId: secrets.newId() })
  if (policy.retentionMs !== null)
    await store.removeSettled(clock.now() - policy.retentionMs, RETENTION_BATCH)

  const limit = budget.take(policy.pollsPerSecond)
  if (limit === 0) return []
  const now = clock.now()
  const claimed = await store.claimDue(now, now + policy.pollTimeoutMs + LEASE_MARGIN_MS, limit)
  budget.giveBack(limit - claimed.length)
  return claimed.map((task) =>
    poll(deps, report, task).catch((error: unknown) => {
      deps.log.warn({ err: error, taskId: task.id }, 'a poll could not be taken in; the lease brings it back')
    }),
  )
}

/** Asks the upstream about one claimed task and takes in what it says. */
async function poll(deps: TaskDependencies, report: Reporter, task: UpscaleTask): Promise<void> {
  const { store, upscaler, clock, secrets, policy } = deps
  const { upstreamTaskId } = task
  if (upstreamTaskId === null) return store.reschedule(task, null)
  const correlationId = secrets.newId()
  const lookup = await upscaler.lookup(upstreamTaskId, { timeoutMs: policy.pollTimeoutMs, correlationId })
  const at = clock.now()
  const news = toReport(task, lookup, at, correlationId, policy.imageLifetimeMs)
  if (news === undefined)
    return store.reschedule(task, toDueAt(task, at, at + toInterval(task, policy.pollIntervalMs)))
  const { status } = await report(task.id, { ...news, at, source: 'POLL', upstreamTaskId })
  // A settled task ignores a failure; it is then still claimed.
  if (status === 'FAILED' && task.status === 'FAILED') await store.reschedule(task, toDueAt(task, at, at))
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
      if (at < task.createdAt + GRACE_MS) return undefined
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

/** How long until the next poll: doubling from the interval up to two minutes, a tenth more or less at random. */
function toInterval(task: UpscaleTask, intervalMs: number): number {
  const grown = Math.min(intervalMs * 2 ** Math.min(task.polls, 16), Math.max(intervalMs, MAX_INTERVAL_MS))
  return Math.round(grown * (0.9 + Math.random() * 0.2))
}
