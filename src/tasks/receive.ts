import type { Report } from './apply-report.ts'
import { toImages } from './images.ts'
import type { CallbackNews, TaskDependencies } from './ports.ts'
import type { Reporter } from './report.ts'
import type { SharedLookup } from './shared-lookup.ts'
import { isOther, type UpscaleTask } from './task.ts'

/** taken: committed, or nothing new. mismatch: it speaks of another upstream task. */
export type Receipt = 'taken' | 'mismatch'

/**
 * Takes in a callback whose sender has proved to know the task's secret URL. Resolves only once what it
 * said is committed. What it says is checked against record-info where that matters: a failure is coarse in
 * a callback, and a success may have to be confirmed.
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
  // What is done is done, and a failure that the upstream has told already has nothing to say.
  const known = task.failedBy === 'UPSTREAM' && news.outcome.kind === 'failed'
  if (task.status === 'SUCCEEDED' || known) return 'taken'
  const { upstreamTaskId } = news
  const outcome = await check(deps, lookup, news, correlationId)
  const facts = { at: deps.clock.now(), source: 'CALLBACK', upstreamTaskId } as const
  const tell = async (news: Report): Promise<Receipt> =>
    // The upstream's id may have become known, as another one, while record-info was asked.
    isOther(await report(task, news), facts) ? 'mismatch' : 'taken'
  switch (outcome.kind) {
    case 'succeeded': {
      const images = toImages(outcome.imageUrls, facts.at, deps.policy.imageLifetimeMs)
      return tell({ ...facts, kind: 'succeeded', images })
    }
    case 'failed':
      return tell({ ...facts, kind: 'failed', failure: { ...outcome.failure, correlationId } })
    case 'inconclusive': {
      // Whoever calls back has accepted the task, even if its answer to the submit got lost.
      const receipt = await tell({ ...facts, kind: 'accepted', pollAt: facts.at })
      if (receipt === 'mismatch') return receipt
      await deps.store.hurry(task.id)
      deps.alarm.ring()
      return 'taken'
    }
    default:
      return outcome satisfies never
  }
}

type Outcome = CallbackNews['outcome']

/** What a callback says after record-info was asked, where it has to be and the budget allows it in time. */
async function check(
  { policy }: TaskDependencies,
  lookup: SharedLookup,
  { upstreamTaskId, outcome }: CallbackNews,
  correlationId: string,
): Promise<Outcome> {
  const confirm = outcome.kind === 'succeeded' && policy.confirmCallbacks
  if (outcome.kind !== 'failed' && !confirm) return outcome
  const found = await lookup(upstreamTaskId, correlationId)
  if (found.kind === 'succeeded' || found.kind === 'failed') return found
  return confirm ? { kind: 'inconclusive' } : outcome
}
