import type { CompiledQuery, Kysely } from 'kysely'
import type { UpscaleTask } from '../tasks/task.ts'
import type { Database, TaskRow } from './schema.ts'
import type { Statement } from './sql.ts'

/** New values, written only while the task has this version and upstream task. */
interface GuardedChanges extends Partial<TaskRow> {
  readonly ifId: string
  readonly ifVersion: number
  readonly ifUpstreamTaskId: string | null
}

/** The statements of the hot path. */
export const createTaskStatements = () => ({
  insertTask: compileOnce((db, row: TaskRow) => db.insertInto('task').values(row)),
  updateTask: compileOnce((db, { ifId, ifVersion, ifUpstreamTaskId, ...set }: GuardedChanges) =>
    db
      .updateTable('task')
      .set(set)
      .where('id', '=', ifId)
      .where('version', '=', ifVersion)
      .where('upstreamTaskId', 'is not distinct from', ifUpstreamTaskId),
  ),
  /** Selects the id only: mostly there is none, and SQLite finds that out three times as fast as for all columns. */
  selectSamePicture: compileOnce(
    (db, { pictureDigest, createdAt }: Pick<UpscaleTask, 'pictureDigest' | 'createdAt'>) =>
      db
        .selectFrom('task')
        .select('id')
        .where('pictureDigest', '=', pictureDigest)
        .where((where) =>
          where.or([
            where('status', 'in', ['SUBMITTED', 'PROCESSING']),
            where.and([where('status', '=', 'SUCCEEDED'), where('imagesExpireAt', '>', createdAt)]),
          ]),
        )
        .orderBy('createdAt', 'desc')
        .limit(1),
  ),
})

/** Stands for a value while a statement is compiled. */
class Placeholder {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

/**
 * A hot-path statement that Kysely compiles once for each set of value names: compiling takes as long as SQLite takes to run it.
 * `build` gets placeholders, so it must pass each value on as it is.
 */
function compileOnce<Values extends object, Row>(
  build: (db: Kysely<Database>, values: Values) => Statement<Row>,
): (values: Values) => Statement<Row> {
  const compiled = new Map<string, CompiledQuery<Row>>()
  return (values) => ({
    compile(db) {
      const names = Object.keys(values)
      const shape = names.join()
      let query = compiled.get(shape)
      if (query === undefined) {
        const placeholders = Object.fromEntries(names.map((name) => [name, new Placeholder(name)]))
        query = build(db, Object.assign({ ...values }, placeholders)).compile(db)
        compiled.set(shape, query)
      }
      const parameters = query.parameters.map((each): unknown =>
        each instanceof Placeholder ? Reflect.get(values, each.name) : each,
      )
      return { ...query, parameters }
    },
  })
}
