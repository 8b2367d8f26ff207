import type { Lookup, PollBudget, TaskDependencies } from './ports.ts'

/** Polls record-info while a callback waits; `unavailable` when no answer came in time. */
export type SharedLookup = (upstreamTaskId: string, correlationId: string) => Promise<Lookup>

/** How long an answer is shared, in milliseconds, so that repeated callbacks do not use up the poll budget. */
const SHARED_FOR_MS = 5_000

/** Copies of a callback share one poll, which counts in the poll budget, and its answer for a few seconds. */
export function createSharedLookup(
  { upscaler, policy, clock }: Pick<TaskDependencies, 'upscaler' | 'policy' | 'clock'>,
  budget: PollBudget,
): SharedLookup {
  const shared = new Map<string, { readonly lookup: Promise<Lookup>; readonly since: number }>()
  const ask = async (upstreamTaskId: string, correlationId: string): Promise<Lookup> => {
    const until = clock.elapsed() + policy.confirmTimeoutMs
    if (!(await budget.wait(policy.confirmTimeoutMs))) return { kind: 'unavailable' }
    const timeoutMs = Math.max(1, until - clock.elapsed())
    return upscaler.lookup(upstreamTaskId, { timeoutMs, correlationId })
  }
  return (upstreamTaskId, correlationId) => {
    const now = clock.elapsed()
    for (const [id, { since }] of shared) {
      if (now < since + SHARED_FOR_MS) break
      shared.delete(id)
    }
    const known = shared.get(upstreamTaskId)
    if (known !== undefined) return known.lookup
    const lookup = ask(upstreamTaskId, correlationId)
    shared.set(upstreamTaskId, { lookup, since: now })
    return lookup
  }
}
