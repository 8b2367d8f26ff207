import type { CallbackNews, TaskDependencies } from './ports.ts'
import type { Reporter } from './report.ts'
import { isSettled, type UpscaleTask } from './task.ts'

/** taken: committed, or nothing new. mismatch: it speaks of another upstream task. */
export type Receipt = 'taken' | 'mismatch'

/**
 * Takes in a callback whose sender has proved to know the task's secret URL. Resolves only once what it
 * said is committed. A failure is coarse in a callback, so record-info is asked once for the precise code.
 */
export async function receiveCallback(
  deps: TaskDependencies,
  report: Reporter,
  task: UpscaleTask,
  news: CallbackNews,
  correlationId: string,
): Promise<Receipt> {
  const { upstreamTaskId } = news
  if (task.upstreamTaskId !== null && task.upstreamTaskId !== upstreamTaskId) return 'mismatch'
  // A settled task has nothing to hear but the success it once missed.
  if (isSettled(task) && news.outcome.kind !== 'succeeded') return 'taken'
  const outcome = news.outcome.kind === 'failed' ? await precise(deps, news, correlationId) : news.outcome
  const at = deps.clock.now()
  switch (outcome.kind) {
    case 'succeeded': {
      const images = toImages(outcome.imageUrls, at, deps.policy.imageLifetimeMs)
      await report(task.id, { kind: 'succeeded', at, upstreamTaskId, images })
      return 'taken'
    }
    case 'failed': {
      const failure = { ...outcome.failure, correlationId }
      await report(task.id, { kind: 'failed', at, upstreamTaskId, failure })
      return 'taken'
    }
    case 'inconclusive':
      // Whoever calls back has accepted the task, even if its answer to the submit got lost.
      await report(task.id, { kind: 'accepted', at, upstreamTaskId, pollAt: at })
      return 'taken'
    default:
      return outcome satisfies never
  }
}

/** The same failure with record-info's own code; its success, if it says so; else what the callback said. */
async function precise(
  { upscaler, policy }: TaskDependencies,
  { upstreamTaskId, outcome }: CallbackNews,
  correlationId: string,
): Promise<CallbackNews['outcome']> {
  const lookup = await upscaler.lookup(upstreamTaskId, { timeoutMs: policy.confirmTimeoutMs, correlationId })
  return lookup.kind === 'succeeded' || lookup.kind === 'failed' ? lookup : outcome
}

/** URLs with the estimate of when they end. */
export function toImages(urls: readonly string[], at: number, lifetimeMs: number) {
  return urls.map((url) => ({ url, expiresAt: at + lifetimeMs }))
}
