import type { ResultJobs } from '../results/jobs.ts'
import type { SourceImage, UpscaleTask } from '../tasks/task.ts'
import { toTask } from './schema.ts'
import type { Sql } from './sql.ts'

/** The ResultJobs in SQL: columns of the tasks. */
export class SqlResultJobs implements ResultJobs {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  async claimDue(now: number, leaseUntil: number, limit: number, latestMs: number): Promise<UpscaleTask[]> {
    const { db, run, locksRows } = this.#sql
    const due = db
      .selectFrom('task')
      .select('id')
      .where((where) =>
        where.or([where('resultDueAt', '<=', now), where('resultDueAt', '>', now + latestMs)]),
      )
      .orderBy('resultDueAt')
      .limit(limit)
      .$if(locksRows, (query) => query.forUpdate().skipLocked())
    const claim = db
      .with('due', () => due)
      .updateTable('task')
      .set({ resultDueAt: leaseUntil })
      .where('id', 'in', (from) => from.selectFrom('due').select('due.id'))
      .returningAll()
    return (await run(claim)).rows.map(toTask)
  }

  async moveLease(id: string, leaseUntil: number, nextUntil: number): Promise<boolean> {
    const { db, run } = this.#sql
    const lease = db.updateTable('task').where('id', '=', id).where('resultDueAt', '=', leaseUntil)
    return (await run(lease.set({ resultDueAt: nextUntil }))).numAffectedRows !== 0n
  }

  async listOverdue(now: number, limit: number): Promise<UpscaleTask[]> {
    const { db, run } = this.#sql
    // `dueAt` of a succeeded task is null.
    const waiting = db
      .selectFrom('task')
      .selectAll()
      .where('images', 'is not', null)
      .where('dueAt', '<=', now)
    return (await run(waiting.orderBy('dueAt').limit(limit))).rows.map(toTask)
  }

  async saveSource(id: string, sourceImage: SourceImage): Promise<void> {
    const { db, run } = this.#sql
    const task = db.updateTable('task').where('id', '=', id)
    await run(task.set({ sourceImage: JSON.stringify(sourceImage) }))
  }
}
