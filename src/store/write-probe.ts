import type { Sql } from './sql.ts'

const PROBE_EVERY_MS = 1_000
/** Load balancers wait only a few seconds for an answer. */
const ANSWER_WITHIN_MS = 2_000
/** Only the probe uses this row. */
const ROW = { key: 'upscale:write-probe', points: 0, expire: null }

/**
 * Checks that the database accepts writes: commits one row and waits until it is durable. This detects a full
 * disk, a read-only file and a standby. Also checks that the file is still at its path. At most one probe a
 * second runs; other callers share its outcome.
 */
export function createWriteProbe({ db, run, checkSpace, checkFile }: Sql): () => Promise<void> {
  const query = db
    .insertInto('rate_limit')
    .values(ROW)
    .onConflict((conflict) => conflict.column('key').doUpdateSet(ROW))
  let running: Promise<unknown> | undefined
  let startedAt = -Infinity
  let ended = true
  return async () => {
    if (running === undefined || (ended && performance.now() - startedAt >= PROBE_EVERY_MS)) {
      startedAt = performance.now()
      ended = false
      running = Promise.all([run(query), checkSpace?.(), checkFile?.()]).finally(() => (ended = true))
    }
    await within(running, ANSWER_WITHIN_MS)
  }
}

async function within(work: Promise<unknown>, ms: number): Promise<void> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => late.reject(new Error(`The database has not committed a write for ${ms} ms`)),
    ms,
  )
  try {
    await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
