/** SQLite files with settled tasks of the last 90 days. */
import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { toRow } from '../../src/store/schema.ts'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import { toTimeOrdered } from '../../src/system.ts'
import { newTask } from '../../test/support/new-task.ts'

const DAY_MS = 86_400_000
const RETENTION_MS = 90 * DAY_MS
/** No task is due for deletion during the bench or lies in the future. */
const MARGIN_MS = 3_600_000
const SETTLED_AFTER_MS = 30_000
const OWNERS = 1_000
const CHUNK = 4 * 2 ** 20

/**
 * Creates a database of this version with so many settled tasks, spread evenly over the retention, in the
 * order of time.
 */
export async function fillDatabase(file: string, count: number): Promise<void> {
  await using _stores = await openSqlite(file, createLocalHints())
  using db = new DatabaseSync(file, { timeout: 10_000 })
  db.exec('pragma cache_size = -1000000; pragma synchronous = off')
  const start = Date.now() - RETENTION_MS + MARGIN_MS
  const step = (RETENTION_MS - 2 * MARGIN_MS) / count
  const columns = Object.keys(toSettledRow(0, start))
  const insert = db.prepare(
    `insert into task (${columns.map((column) => `"${column}"`).join()}) values (${columns.map(() => '?').join()})`,
  )
  db.exec('begin immediate')
  for (let n = 0; n < count; n += 1)
    insert.run(...Object.values<SQLInputValue>(toSettledRow(n, Math.round(start + n * step))))
  db.exec('commit')
  db.exec('pragma wal_checkpoint(truncate)')
}

/** A third of the tasks belongs to the owner of callers without a token, and one in 32 has failed. */
function toSettledRow(n: number, at: number): Readonly<Record<string, SQLInputValue>> {
  const hasFailed = n % 32 === 2
  const uuid = randomUUID()
  const id = toTimeOrdered(uuid, at)
  const expiresAt = at + SETTLED_AFTER_MS + DAY_MS
  const event = { source: 'SUBMIT', upstreamCode: null, note: 'accepted by the upscale service' } as const
  const row = toRow(
    newTask({
      id,
      version: 3,
      revision: 3,
      owner: n % 3 === 0 ? 'anonymous' : `owner-${n % OWNERS}`,
      status: hasFailed ? 'FAILED' : 'SUCCEEDED',
      sourceTaskId: uuid,
      images: hasFailed
        ? null
        : [{ url: `https://example.com/${uuid}.png`, expiresAt, facts: null, copyState: 'OFF' }],
      imagesExpireAt: hasFailed ? null : expiresAt,
      failure: hasFailed
        ? { code: 'UPSTREAM_SERVER_ERROR', upstreamCode: 500, correlationId: id, retryAfterMs: null }
        : null,
      failedBy: hasFailed ? 'UPSTREAM' : null,
      upstreamTaskId: `upstream-${id}`,
      callbackTokenHash: randomBytes(32).toString('base64url'),
      pictureDigest: randomBytes(32).toString('base64url'),
      createdAt: at,
      updatedAt: at + SETTLED_AFTER_MS,
      settledAt: at + SETTLED_AFTER_MS,
      deadlineAt: at + DAY_MS,
      dueAt: null,
      history: [
        { ...event, at, status: 'SUBMITTED', note: 'submitted' },
        { ...event, at, status: 'PROCESSING' },
        {
          ...event,
          at: at + SETTLED_AFTER_MS,
          status: hasFailed ? 'FAILED' : 'SUCCEEDED',
          source: 'CALLBACK',
        },
      ],
    }),
  )
  return { ...row }
}

/**
 * Copies a filled file, so that a measure may change it. An earlier copy is overwritten in place and not
 * deleted, because discarding deleted blocks delays the next commits on some disks. The copy is on disk
 * before anything is measured.
 */
export async function copyDatabase(file: string, copy: string): Promise<void> {
  for (const suffix of ['-wal', '-shm']) await rm(copy + suffix, { force: true })
  await using target = await open(copy, existsSync(copy) ? 'r+' : 'w')
  await using source = await open(file)
  const { size } = await source.stat()
  for (let at = 0; at < size; at += CHUNK) {
    const { buffer, bytesRead } = await source.read(Buffer.allocUnsafe(CHUNK), 0, CHUNK, at)
    await target.write(buffer, 0, bytesRead, at)
  }
  await target.truncate(size)
  await target.sync()
}
