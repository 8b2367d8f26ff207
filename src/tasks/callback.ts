import type { Report } from './transitions.ts'
import { toImages } from './images.ts'
import type { CallbackNews, Lookup, TaskDependencies } from './ports.ts'
import type { Reporter } from './report.ts'
import type { SharedLookup } from './shared-lookup.ts'
import { isOther, type UpscaleTask } from './task.ts'

/**
 * taken: committed, or nothing new. mismatch: the callback is about another upstream task. unconfirmed: it reports a success
 * that record-info does not confirm yet, and the task is no longer polled: the upstream has to repeat the callback.
 */
export type Receipt = 'taken' | 'mismatch' | 'unconfirmed'

/**
 * Processes a callback that arrived at the task's secret URL. Resolves once the new state is committed. Polls record-info
 * first if the callback is not sufficient: for the precise code of a failure, for an inconclusive callback, and, with
 * CALLBACK_CONFIRM, to confirm a success.
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
  // The source is POLL if the callback was inconclusive and record-info had the result.
  const asked = news.outcome.kind === 'inconclusive' && outcome.kind !== 'inconclusive'
  const facts = { at: deps.clock.now(), source: asked ? 'POLL' : 'CALLBACK', upstreamTaskId } as const
  const commit = async (next: Report): Promise<Receipt> =>
    // During the poll the answer to the submit may have named another upstream id.
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
      // Any callback proves that the upstream has accepted the task.
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

/** Whether the upstream has reported the failure, so that the task is no longer polled. */
function isFinal({ failedBy }: UpscaleTask): boolean {
  return failedBy === 'UPSTREAM'
}

/** Whether a callback cannot change the task. */
function isKnown(
  { status, failedBy, settledAt, upstreamTaskId }: UpscaleTask,
  { outcome }: CallbackNews,
): boolean {
  if (status === 'SUCCEEDED') return true
  if (outcome.kind === 'failed') return failedBy === 'UPSTREAM'
  return outcome.kind === 'inconclusive' && settledAt !== null && upstreamTaskId !== null
}

/** After an inconclusive callback the task is polled again in this time. More callbacks do not cause more polls. */
const POLL_SOON_MS = 5_000

type Outcome = CallbackNews['outcome']

/** The outcome of a callback, after a poll of record-info if one is needed and the poll budget allows it in time. */
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

/** Whether record-info returned a final record of the task. */
function isRecorded(found: Lookup): found is Extract<Lookup, { kind: 'succeeded' | 'failed' }> {
  return found.kind === 'succeeded' || (found.kind === 'failed' && found.recorded)
}
