import type { Report } from './apply-report.ts'
import { toImages } from './images.ts'
import type { CallbackNews, Lookup, TaskDependencies } from './ports.ts'
import type { Reporter } from './report.ts'
import type { SharedLookup } from './shared-lookup.ts'
import { isOther, type UpscaleTask } from './task.ts'

/**
 * taken: committed, or nothing new. mismatch: the callback is about another upstream task. unconfirmed: it tells of a
 * success that record-info does not confirm yet, of a task that is not polled any more: the upstream has to call again.
 */
export type Receipt = 'taken' | 'mismatch' | 'unconfirmed'

/**
 * Takes in a callback whose sender has proved to know the task's secret URL. Resolves once its consequence is committed.
 * Record-info is asked first where a callback does not suffice: for the precise code of a failure, for an inconclusive
 * callback, and, where the operator wants it, to confirm a success.
 */
export async function receiveCallback(
  deps: TaskDependencies,
  report: Reporter,
  lookup: SharedLookup,
  task: UpscaleTask,
  news: CallbackNews,
  correlationId: string,
): Promise<Receipt> {
  if (isOther(task, news)) return 'mismatch'
  if (isKnown(task, news)) return 'taken'
  const { upstreamTaskId } = news
  const { dropped } = 'dropped' in news.outcome ? news.outcome : {}
  if (dropped) deps.log.warn({ taskId: task.id, correlationId, dropped }, 'result URLs were dropped')
  const outcome = await check(deps, lookup, news, correlationId)
  // An inconclusive callback only made us ask: the end that was found is record-info's word.
  const asked = news.outcome.kind === 'inconclusive' && outcome.kind !== 'inconclusive'
  const facts = { at: deps.clock.now(), source: asked ? 'POLL' : 'CALLBACK', upstreamTaskId } as const
  const commit = async (next: Report): Promise<Receipt> =>
    // The upstream's id may have become known, as another one, while record-info was asked.
    isOther(await report(task, next), facts) ? 'mismatch' : 'taken'
  switch (outcome.kind) {
    case 'succeeded': {
      const images = toImages(outcome.imageUrls, facts.at, deps.policy.imageLifetimeMs)
      return commit({ ...facts, kind: 'succeeded', images })
    }
    case 'failed': {
      const failure = { ...outcome.failure, correlationId }
      return commit({ ...facts, kind: 'failed', failure, failedBy: 'UPSTREAM', note: 'the upscale failed' })
    }
    case 'inconclusive': {
      // It proves at least that the upstream has accepted the task.
      const receipt = await commit({ ...facts, kind: 'accepted', pollAt: facts.at })
      if (receipt === 'taken') await deps.store.pollSoon(task.id, facts.at + POLL_SOON_MS)
      return receipt === 'taken' && news.outcome.kind === 'succeeded' && isFinal(task)
        ? 'unconfirmed'
        : receipt
    }
    default:
      return outcome satisfies never
  }
}

/** Whether the upstream has said that the task failed, so that it is not polled any more. */
function isFinal({ failedBy }: UpscaleTask): boolean {
  return failedBy === 'UPSTREAM'
}

/** Whether a callback cannot say anything new about the task. */
function isKnown(
  { status, failedBy, settledAt, upstreamTaskId }: UpscaleTask,
  { outcome }: CallbackNews,
): boolean {
  if (status === 'SUCCEEDED') return true
  if (outcome.kind === 'failed') return failedBy === 'UPSTREAM'
  return outcome.kind === 'inconclusive' && settledAt !== null && upstreamTaskId !== null
}

/** After an inconclusive callback the task is polled again in this time. However many come, it is not polled more often. */
const POLL_SOON_MS = 5_000

type Outcome = CallbackNews['outcome']

/** What a callback says after record-info was asked, where that is needed and the poll budget allows it in time. */
async function check(
  { policy }: TaskDependencies,
  lookup: SharedLookup,
  { upstreamTaskId, outcome }: CallbackNews,
  correlationId: string,
): Promise<Outcome> {
  if (outcome.kind === 'succeeded' && !policy.confirmCallbacks) return outcome
  const found = await lookup(upstreamTaskId, correlationId)
  if (isRecorded(found)) return found
  return outcome.kind === 'failed' ? outcome : { kind: 'inconclusive' }
}

/** Whether record-info had a record of the task, and the record tells of its end. */
function isRecorded(found: Lookup): found is Extract<Lookup, { kind: 'succeeded' | 'failed' }> {
  return found.kind === 'succeeded' || (found.kind === 'failed' && found.recorded)
}
