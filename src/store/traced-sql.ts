import { NO_TRACING, type Tracing } from '../tasks/tracing.ts'
import type { Sql } from './sql.ts'

/**
 * Records each transaction of a traced operation as a span (semantic conventions for databases). Those of a worker's rounds,
 * which belong to no task, are not recorded.
 */
export function traceSql(sql: Sql, tracing: Tracing, system: 'postgresql' | 'sqlite'): Sql {
  if (tracing === NO_TRACING) return sql
  const attributes = { 'db.system.name': system, 'db.operation.name': 'COMMIT' }
  const start = { name: 'COMMIT', kind: 'client', traceparent: null, attributes, onlyWithin: true } as const
  return { ...sql, transact: (work) => tracing.run(start, () => sql.transact(work)) }
}
