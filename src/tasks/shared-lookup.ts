import type { PollBudget } from './poll-budget.ts'
import type { Lookup, TaskDependencies } from './ports.ts'

/** Asks record-info while a callback waits for its answer; `unavailable` when there was none in time. */
export type SharedLookup = (upstreamTaskId: string, correlationId: string) => Promise<Lookup>

/** Copies of a callback come together: they share one question, which counts in the poll budget. */
export function createSharedLookup(
  { upscaler, policy, clock }: Pick<TaskDependencies, 'upscaler' | 'policy' | 'clock'>,
  budget: PollBudget,
): SharedLookup {
  const running = new Map<string, Promise<Lookup>>()
  const ask = async (upstreamTaskId: string, correlationId: string): Promise<Lookup> => {
    const until = clock.elapsed() + policy.confirmTimeoutMs
    if (!(await budget.wait(policy.confirmTimeoutMs))) return { kind: 'unavailable' }
    const timeoutMs = Math.max(1, until - clock.elapsed())
    return upscaler.lookup(upstreamTaskId, { timeoutMs, correlationId })
  }
  return (upstreamTaskId, correlationId) => {
    const lookup =
      running.get(upstreamTaskId) ??
      ask(upstreamTaskId, correlationId).finally(() => running.delete(upstreamTaskId))
    running.set(upstreamTaskId, lookup)
    return lookup
  }
}
