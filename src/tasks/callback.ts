import type { TaskContext } from './context.ts'
import { URLS_DROPPED, type Callback, type PollAnswer } from './engines/engine-ports.ts'
import { pollTask } from './engines/poll-task.ts'
import type { TaskPolicy } from './ports.ts'
import { toOutcomeReport } from './result.ts'
import { namesOtherUpstreamTask, type UpscaleTask } from './task.ts'
import { shareCalls } from './timing.ts'
import type { Report } from './report.ts'

/**
 * accepted: committed, or nothing new. mismatch: the callback is about another upstream task. unconfirmed: it
 * reports a success that a poll does not confirm yet, and the task is no longer polled: the upstream has to
 * repeat the callback.
 */
export type CallbackResult = 'accepted' | 'mismatch' | 'unconfirmed'

/**
 * How long the answer to a poll is shared, in milliseconds, so that repeated callbacks do not use up the poll
 * budget.
 */
const POLL_SHARED_FOR_MS = 5_000
/**
 * An inconclusive callback makes the task due for a poll after this time. More callbacks do not cause more
 * polls.
 */
const POLL_SOON_MS = 5_000

type Reported = Callback['outcome']
type PollOnce = (key: string, correlationId: string) => Promise<PollAnswer>

/**
 * Creates the handler of callbacks that arrive at a task's secret URL. It resolves once the new state is
 * committed. It polls first if the callback is not sufficient: for the precise code of a failure, for an
 * inconclusive callback, and, with CALLBACK_CONFIRM, to confirm a success.
 */
export function createCallbackReceiver(context: TaskContext) {
  const { clock, log, policy, report, store } = context
  const poll = shareCalls(clock, POLL_SHARED_FOR_MS, (key, correlationId) => {
    const [engine = '', upstreamTaskId = ''] = JSON.parse(key) as string[]
    return pollInTime(context, { engine, upstreamTaskId }, correlationId)
  })
  return async (task: UpscaleTask, callback: Callback): Promise<CallbackResult> => {
    const { correlationId } = task
    const { upstreamTaskId, outcome: claimed } = callback
    if (namesOtherUpstreamTask(task, upstreamTaskId)) return 'mismatch'
    if (!canChange(task, claimed)) return 'accepted'
    if ('dropped' in claimed) {
      const { dropped } = claimed
      log.warn({ taskId: task.id, correlationId, dropped }, URLS_DROPPED)
    }
    const needsPoll = claimed.kind !== 'pending' && (claimed.kind !== 'succeeded' || policy.confirmCallbacks)
    const outcome = needsPoll ? await confirm(poll, task.engine, callback, correlationId) : claimed
    const at = clock.now()
    // The source is POLL if the callback was inconclusive and the poll had the outcome.
    const isPolled = claimed.kind === 'inconclusive' && outcome.kind !== 'inconclusive'
    const facts = { at, source: isPolled ? 'POLL' : 'CALLBACK', upstreamTaskId } as const
    const current = await report(task, toReport(outcome, facts, correlationId, policy))
    // During the poll the answer to the submit may have named another upstream task.
    if (namesOtherUpstreamTask(current, upstreamTaskId)) return 'mismatch'
    if (outcome.kind !== 'inconclusive') return 'accepted'
    await store.pollSoon(task.id, at + POLL_SOON_MS)
    const isNoLongerPolled = task.failedBy === 'UPSTREAM'
    return claimed.kind === 'succeeded' && isNoLongerPolled ? 'unconfirmed' : 'accepted'
  }
}

/** Whether a callback with this outcome can change the task. */
function canChange(
  { images, failedBy, settledAt, upstreamTaskId }: UpscaleTask,
  { kind }: Reported,
): boolean {
  if (images !== null) return false
  if (kind === 'pending') return upstreamTaskId === null
  if (kind === 'failed') return failedBy !== 'UPSTREAM'
  return kind === 'succeeded' || settledAt === null || upstreamTaskId === null
}

/**
 * Returns the final outcome that a poll reports. Without one, a reported failure counts, and any other
 * outcome is inconclusive.
 */
async function confirm(
  poll: PollOnce,
  engine: string,
  { upstreamTaskId, outcome }: Callback,
  correlationId: string,
): Promise<Reported> {
  const answer = await poll(JSON.stringify([engine, upstreamTaskId]), correlationId)
  if (answer.kind === 'succeeded' || (answer.kind === 'failed' && answer.recorded)) return answer
  return outcome.kind === 'failed' ? outcome : { kind: 'inconclusive' }
}

/**
 * Polls within the time that a callback may wait; `unavailable` if the poll budget does not allow it in time.
 */
async function pollInTime(
  context: TaskContext,
  task: { readonly engine: string; readonly upstreamTaskId: string },
  correlationId: string,
): Promise<PollAnswer> {
  const { policy, clock, budget } = context
  const until = clock.elapsed() + policy.confirmTimeoutMs
  if (!(await budget.wait(policy.confirmTimeoutMs))) return { kind: 'unavailable' }
  const timeoutMs = Math.max(1, until - clock.elapsed())
  return pollTask(context, task, { timeoutMs, correlationId })
}

function toReport(
  outcome: Reported,
  facts: { readonly at: number; readonly source: 'POLL' | 'CALLBACK'; readonly upstreamTaskId: string },
  correlationId: string,
  policy: TaskPolicy,
): Report {
  switch (outcome.kind) {
    case 'succeeded':
    case 'failed':
      return toOutcomeReport(outcome, facts, correlationId, policy)
    // Any callback proves that the upstream has accepted the task.
    case 'pending':
      return { ...facts, kind: 'accepted', pollAt: facts.at + policy.pollIntervalMs }
    case 'inconclusive':
      return { ...facts, kind: 'accepted', pollAt: facts.at }
    default:
      return outcome satisfies never
  }
}
