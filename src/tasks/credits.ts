import type { TaskDependencies } from './ports.ts'

/** One purse serves everyone, and asking is not free of limits: the answer is kept this long. */
const KEPT_MS = 30_000

/** Reads the account's credits; those who ask at the same time, or soon after, share one answer. */
export function createCreditsReader({
  upscaler,
  clock,
  secrets,
  policy,
}: Pick<TaskDependencies, 'upscaler' | 'clock' | 'secrets' | 'policy'>): () => Promise<number | null> {
  let answer: Promise<number | null> = Promise.resolve(null)
  let freshUntil = -Infinity
  return () => {
    if (clock.elapsed() >= freshUntil) {
      freshUntil = clock.elapsed() + KEPT_MS
      answer = upscaler.credits({ timeoutMs: policy.pollTimeoutMs, correlationId: secrets.newId() })
    }
    return answer
  }
}
