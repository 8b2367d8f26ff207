import { NO_TRACING, type Tracing } from '../tasks/tracing.ts'
import type { Sql } from './sql.ts'

/**
 * Records each transaction of a traced operation as a span (semantic conventions for databases). Those of a
 * worker's rounds, which belong to no task, are not recorded.
 */
export function traceSql(sql: Sql, tracing: Tracing, system: 'postgresql' | 'sqlite'): Sql {
  if (tracing === NO_TRACING) return sql
  const inSpan = createCommitSpans(tracing, system)
  return { ...sql, transact: (work) => inSpan(() => sql.transact(work)) }
}

/** Returns a function that runs a commit within a span, if the commit belongs to a traced operation. */
export function createCommitSpans(tracing: Tracing, system: 'postgresql' | 'sqlite') {
  const attributes = { 'db.system.name': system, 'db.operation.name': 'COMMIT' }
  const start = { name: 'COMMIT', kind: 'client', traceparent: null, attributes, onlyWithin: true } as const
  return <T>(commit: () => Promise<T>): Promise<T> => tracing.run(start, commit)
}
