import type { ChangeQuery } from '../tasks/watch/task-change.ts'
import type { Sql } from './sql.ts'

/** A page of an owner's changed tasks. An index has the rows in this order. */
export function toChangesQuery(db: Sql['db'], { owner, since, after, limit }: ChangeQuery) {
  const query = db.selectFrom('task').select(['id', 'version', 'updatedAt']).where('owner', '=', owner)
  const rest =
    after === null
      ? query.where('updatedAt', '>=', since)
      : query.where((where) =>
          where(where.refTuple('updatedAt', 'id'), '>', where.tuple(after.updatedAt, after.id)),
        )
  return rest.orderBy('updatedAt').orderBy('id').limit(limit)
}
