/** The reported costs of tasks, by day, owner and engine. */
import { toDay, type Usage } from '../tasks/engines/usage.ts'
import type { UpscaleTask } from '../tasks/task.ts'
import type { Run, Sql } from './sql.ts'

/** The maximum number of rows in one answer. */
const MAX_ROWS = 10_000

/** Adds the credits that an update reports for a task to the day of that report. */
export async function addUsage(
  { db }: Pick<Sql, 'db'>,
  run: Run,
  previous: UpscaleTask,
  { owner, engine, creditsConsumed, updatedAt, history }: UpscaleTask,
): Promise<void> {
  if (creditsConsumed === null) return
  const tasks = previous.creditsConsumed === null ? 1 : 0
  const credits = creditsConsumed - (previous.creditsConsumed ?? 0)
  const day = toDay(history.at(-1)?.at ?? updatedAt)
  await run(
    db
      .insertInto('usage')
      .values({ day, owner, engine, tasks, credits })
      .onConflict((conflict) =>
        conflict.columns(['day', 'owner', 'engine']).doUpdateSet(({ ref, eb }) => ({
          tasks: eb(ref('usage.tasks'), '+', tasks),
          credits: eb(ref('usage.credits'), '+', credits),
        })),
      ),
  )
}

export async function readUsage({ db, run }: Sql, fromDay: string, owner: string | null): Promise<Usage[]> {
  const since = db.selectFrom('usage').selectAll().where('day', '>=', fromDay)
  const own = owner === null ? since : since.where('owner', '=', owner)
  const inOrder = own.orderBy('day', 'desc').orderBy('owner').orderBy('engine')
  return (await run(inOrder.limit(MAX_ROWS))).rows
}
