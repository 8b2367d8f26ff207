import type { PollBudget } from './poll-budget.ts'
import type { CallbackNews, TaskDependencies } from './ports.ts'
import { toImages } from './images.ts'
import type { Reporter } from './report.ts'
import { isSettled, type UpscaleTask } from './task.ts'

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
  budget: PollBudget,
  task: UpscaleTask,
  news: CallbackNews,
  correlationId: string,
): Promise<Receipt> {
  const { upstreamTaskId } = news
  if (task.upstreamTaskId !== null && task.upstreamTaskId !== upstreamTaskId) return 'mismatch'
  // What is done is done, and a failure that is known already has nothing to say.
  if (task.status === 'SUCCEEDED' || (isSettled(task) && news.outcome.kind === 'failed')) return 'taken'
  const outcome = await check(deps, budget, news, correlationId)
  const at = deps.clock.now()
  const source = 'CALLBACK'
  switch (outcome.kind) {
    case 'succeeded': {
      const images = toImages(outcome.imageUrls, at, deps.policy.imageLifetimeMs)
      await report(task.id, { kind: 'succeeded', at, source, upstreamTaskId, images })
      return 'taken'
    }
    case 'failed': {
      const failure = { ...outcome.failure, correlationId }
      await report(task.id, { kind: 'failed', at, source, upstreamTaskId, failure })
      return 'taken'
    }
    case 'inconclusive':
      // Whoever calls back has accepted the task, even if its answer to the submit got lost.
      await report(task.id, { kind: 'accepted', at, source, upstreamTaskId, pollAt: at })
      await deps.store.hurry(task.id, at)
      deps.alarm.ring()
      return 'taken'
    default:
      return outcome satisfies never
  }
}

type Outcome = CallbackNews['outcome']

/** What a callback says after record-info was asked, where it has to be and the budget allows it in time. */
async function check(
  { upscaler, policy, clock }: TaskDependencies,
  budget: PollBudget,
  { upstreamTaskId, outcome }: CallbackNews,
  correlationId: string,
): Promise<Outcome> {
  const confirm = outcome.kind === 'succeeded' && policy.confirmCallbacks
  if (outcome.kind !== 'failed' && !confirm) return outcome
  const unchecked: Outcome = confirm ? { kind: 'inconclusive' } : outcome
  const until = clock.now() + policy.confirmTimeoutMs
  if (!(await budget.wait(policy.confirmTimeoutMs))) return unchecked
  const timeoutMs = Math.max(1, until - clock.now())
  const lookup = await upscaler.lookup(upstreamTaskId, { timeoutMs, correlationId })
  return lookup.kind === 'succeeded' || lookup.kind === 'failed' ? lookup : unchecked
}
