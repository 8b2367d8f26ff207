import type { Outcome, Result } from './engines/engine-ports.ts'
import type { TaskPolicy } from './ports.ts'
import type { Report } from './report.ts'

interface OutcomeFacts {
  readonly at: number
  readonly source: 'SUBMIT' | 'CALLBACK' | 'POLL'
  readonly upstreamTaskId: string
}

/** The report of a final outcome. */
export function toOutcomeReport(
  outcome: Outcome,
  facts: OutcomeFacts,
  correlationId: string,
  policy: TaskPolicy,
): Report {
  if (outcome.kind === 'succeeded') return toResultReport(outcome, facts, policy)
  const { creditsConsumed } = outcome
  return {
    ...facts,
    kind: 'failed',
    failure: { ...outcome.failure, correlationId },
    failedBy: 'UPSTREAM',
    note: 'the upscale failed',
    ...(creditsConsumed !== undefined && { creditsConsumed }),
  }
}

/**
 * The report of a result. Its inspection, if configured, delays SUCCEEDED; its copies, if configured, are
 * PENDING.
 */
function toResultReport(
  { imageUrls, creditsConsumed }: Result,
  facts: OutcomeFacts,
  { imageLifetimeMs, inspectMs, keepsCopies }: TaskPolicy,
): Report {
  const copyState = keepsCopies ? ('PENDING' as const) : ('OFF' as const)
  const expiresAt = facts.at + imageLifetimeMs
  return {
    ...facts,
    kind: 'succeeded',
    ...(creditsConsumed !== undefined && { creditsConsumed }),
    images: imageUrls.map((url) => ({ url, expiresAt, facts: null, copyState })),
    inspectBy: inspectMs === 0 ? null : facts.at + inspectMs,
  }
}
