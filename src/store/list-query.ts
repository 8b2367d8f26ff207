import type { Kysely, Selectable, SelectQueryBuilder } from 'kysely'
import type { TaskListQuery } from '../tasks/ports.ts'
import type { Database, TaskRow } from './schema.ts'

/** Selects a page of an owner's tasks, newest first. An index has the rows in this order, with and without a status. */
export function toListQuery(
  db: Kysely<Database>,
  { owner, status, after, limit }: TaskListQuery,
): SelectQueryBuilder<Database, 'task', Selectable<TaskRow>> {
  let query = db.selectFrom('task').selectAll().where('owner', '=', owner)
  if (status !== null) query = query.where('status', '=', status)
  if (after !== null)
    query = query.where((where) =>
      where(where.refTuple('created_at', 'id'), '<', where.tuple(after.createdAt, after.id)),
    )
  return query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit)
}
