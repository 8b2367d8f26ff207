import type { TaskPolicy } from '../../src/tasks/ports.ts'

/** The service's own numbers, as far as a test does not change them. */
export const POLICY: TaskPolicy = {
  deadlineMs: 1_800_000,
  pollIntervalMs: 30_000,
  reassertMs: 15_000,
  imageLifetimeMs: 86_400_000,
  idempotencyKeyLifetimeMs: 86_400_000,
  submitTimeoutMs: 30_000,
  answerLeaseMs: 6_000,
  pollTimeoutMs: 10_000,
  confirmTimeoutMs: 3_000,
  pollsPerSecond: 5,
  confirmCallbacks: false,
  retentionMs: null,
  inspectMs: 0,
  keepsCopies: false,
  queueLimit: 100,
  ownerWeights: new Map(),
  engineFallback: false,
}
