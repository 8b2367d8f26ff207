import { NO_TRACING, type Tracing } from '../tasks/tracing.ts'
import type { Sql } from './sql.ts'

/** Records each transaction as a span (semantic conventions for databases). */
export function traceSql(sql: Sql, tracing: Tracing, system: 'postgresql' | 'sqlite'): Sql {
  if (tracing === NO_TRACING) return sql
  const attributes = { 'db.system.name': system, 'db.operation.name': 'COMMIT' }
  const start = { name: 'COMMIT', kind: 'client', traceparent: null, attributes } as const
  return { ...sql, transact: (work) => tracing.run(start, () => sql.transact(work)) }
}
