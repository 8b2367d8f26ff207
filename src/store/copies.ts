import type { CopyUses } from '../results/jobs.ts'
import { CLOCK_TOLERANCE_MS } from '../tasks/store-port.ts'
import type { Run, Sql } from './sql.ts'

/** The CopyUses in SQL, in the same database as the tasks. */
export class SqlCopyUses implements CopyUses {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  use(taskId: string, sha256: string): Promise<'used' | 'busy' | 'gone'> {
    const { db, transact, locksRows } = this.#sql
    return transact(async (run) => {
      // Locks the task, then the copy, in the same order as a deletion, to avoid deadlocks.
      const task = db.selectFrom('task').select('id').where('id', '=', taskId)
      const { rows: tasks } = await run(task.$if(locksRows, (query) => query.forUpdate()))
      if (tasks.length === 0) return 'gone'
      await insertCopy(this.#sql, run, sha256, 'USED')
      const [copy] = await lockCopies(this.#sql, run, [sha256])
      if (copy?.state === 'UNUSED') {
        if (copy.leasedUntil !== null) return 'busy'
        await run(db.updateTable('copy').set({ state: 'USED' }).where('sha256', '=', sha256))
      }
      const use = db.insertInto('copyUse').values({ taskId, sha256 })
      await run(use.onConflict((conflict) => conflict.doNothing()))
      return 'used'
    })
  }

  abandon(sha256: string): Promise<void> {
    return this.#sql.transact(async (run) => {
      await insertCopy(this.#sql, run, sha256, 'UNUSED')
      await markUnused(this.#sql, run, [sha256], [])
    })
  }

  async claimUnused(now: number, leaseUntil: number, limit: number): Promise<string[]> {
    const { db, run, locksRows } = this.#sql
    const unused = db
      .selectFrom('copy')
      .select('sha256')
      .where('state', '=', 'UNUSED')
      .where((where) =>
        where.or([
          where('leasedUntil', 'is', null),
          where('leasedUntil', '<=', now),
          // The clock was set back.
          where('leasedUntil', '>', leaseUntil + CLOCK_TOLERANCE_MS),
        ]),
      )
      // Those whose deletion has failed come last.
      .orderBy((order) => order.fn.coalesce('leasedUntil', order.lit(0)))
      .limit(limit)
      .$if(locksRows, (query) => query.forUpdate().skipLocked())
    const claim = db
      .with('unused', () => unused)
      .updateTable('copy')
      .set({ leasedUntil: leaseUntil })
      .where('sha256', 'in', (from) => from.selectFrom('unused').select('unused.sha256'))
      .returning('sha256')
    return (await run(claim)).rows.map(({ sha256 }) => sha256)
  }

  async forget(sha256: string, leaseUntil: number): Promise<void> {
    const { db, run } = this.#sql
    const unused = db.deleteFrom('copy').where('sha256', '=', sha256).where('state', '=', 'UNUSED')
    await run(unused.where('leasedUntil', '=', leaseUntil))
  }
}

/**
 * Marks the copies that only these tasks use as UNUSED, in the transaction that deletes the tasks. Returns
 * how many.
 */
export async function releaseCopies(sql: Sql, run: Run, taskIds: readonly string[]): Promise<number> {
  const uses = sql.db.selectFrom('copyUse').select('sha256').distinct().where('taskId', 'in', taskIds)
  const hashes = (await run(uses)).rows.map(({ sha256 }) => sha256)
  return hashes.length > 0 ? markUnused(sql, run, hashes, taskIds) : 0
}

/** Marks the copies that no other tasks use as UNUSED. Returns how many. */
async function markUnused(
  sql: Sql,
  run: Run,
  hashes: readonly string[],
  exceptTaskIds: readonly string[],
): Promise<number> {
  // A statement after the lock sees the uses that other transactions have committed meanwhile.
  await lockCopies(sql, run, hashes)
  const { db } = sql
  const others = db
    .selectFrom('copyUse')
    .select('copyUse.sha256')
    .where('copyUse.sha256', 'in', hashes)
    .$if(exceptTaskIds.length > 0, (query) => query.where('taskId', 'not in', exceptTaskIds))
  const { numAffectedRows } = await run(
    db
      .updateTable('copy')
      // Null stays null. The files of a copy with a lease are being deleted: the next holder of a lease
      // repeats that.
      .set(({ eb }) => ({ state: 'UNUSED', leasedUntil: eb('leasedUntil', '+', 1) }))
      .where('sha256', 'in', hashes)
      .where('sha256', 'not in', others),
  )
  return Number(numAffectedRows)
}

async function insertCopy({ db }: Sql, run: Run, sha256: string, state: 'USED' | 'UNUSED'): Promise<void> {
  const insert = db.insertInto('copy').values({ sha256, state, leasedUntil: null })
  await run(insert.onConflict((conflict) => conflict.doNothing()))
}

/** Locks in one order, to avoid deadlocks. */
async function lockCopies({ db, locksRows }: Sql, run: Run, hashes: readonly string[]) {
  const copies = db.selectFrom('copy').selectAll().where('sha256', 'in', hashes).orderBy('sha256')
  return (await run(copies.$if(locksRows, (query) => query.forUpdate()))).rows
}
