import type { TaskPolicy } from './ports.ts'
import type { Report } from './report.ts'

/** The report of a result. Its inspection, if configured, delays SUCCEEDED; its copies, if configured, are PENDING. */
export function toResultReport(
  urls: readonly string[],
  facts: { readonly at: number; readonly source: 'CALLBACK' | 'POLL'; readonly upstreamTaskId: string },
  { imageLifetimeMs, inspectMs, keepsCopies }: TaskPolicy,
): Report {
  const copyState = keepsCopies ? ('PENDING' as const) : ('OFF' as const)
  const expiresAt = facts.at + imageLifetimeMs
  return {
    ...facts,
    kind: 'succeeded',
    images: urls.map((url) => ({ url, expiresAt, facts: null, copyState })),
    inspectBy: inspectMs === 0 ? null : facts.at + inspectMs,
  }
}
