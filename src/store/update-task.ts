import type { UpdateOutcome } from '../tasks/store-port.ts'
import type { UpscaleTask } from '../tasks/task.ts'
import { makeDeliveriesDue } from './outbox.ts'
import { toChanges, type TaskRow } from './schema.ts'
import type { Sql } from './sql.ts'
import { createTemplate } from './template.ts'
import { addUsage } from './usage.ts'

/** Writes an update of a task: see TaskStore. It announces nothing. */
export type WriteUpdate = (previous: UpscaleTask, next: UpscaleTask) => Promise<UpdateOutcome>

/** Writes an update in a transaction of its own. */
export function createUpdate(sql: Sql): WriteUpdate {
  return (previous, next) => {
    const { id, version, revision: oldRevision } = previous
    // Only the columns that differ: others may have been rescheduled since `previous` was read.
    const changes = toChanges(previous, next)
    return sql.transact(async (run): Promise<UpdateOutcome> => {
      const { numAffectedRows } = await run(updateRow({ ...changes, id, oldRevision }))
      if (numAffectedRows === 0n) return 'conflict'
      // Rare: this statement on every update would delay the commits of all others.
      if (next.creditsConsumed !== previous.creditsConsumed) await addUsage(sql, run, previous, next)
      const due = next.version > version && (await makeDeliveriesDue(run, next))
      return due ? 'deliveriesDue' : 'updated'
    })
  }
}

interface Changes extends Partial<TaskRow> {
  readonly id: string
  readonly oldRevision: number
}

const updateRow = createTemplate((db, { id, oldRevision, ...changes }: Changes) =>
  db.updateTable('task').set(changes).where('id', '=', id).where('revision', '=', oldRevision),
)
