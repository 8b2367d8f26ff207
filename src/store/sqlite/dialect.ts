import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import {
  DummyDriver,
  Kysely,
  sql,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type CompiledQuery,
  type QueryResult,
  type SqlBool,
} from 'kysely'
import { LRUCache } from 'lru-cache'
import type { Database } from '../schema.ts'
import type { Run, Sql } from '../sql.ts'
import { orUnavailable } from '../unavailable.ts'
import { GroupCommit, type GroupCommitOptions } from './group-commit.ts'
import { isSqliteAway } from './errors.ts'
import { retryBusy } from './locks.ts'

/** The maximum of prepared statements. Each length of a list needs a separate statement. */
const MAX_STATEMENTS = 300

/**
 * SQL on node:sqlite, with two connections to one file in WAL mode: `writer` for transactions and all writes,
 * committed in groups; `reader` for selects outside of transactions, which do not queue and see only what is
 * committed. Neither has a busy timeout.
 */
export function createSqlite(writer: DatabaseSync, reader: DatabaseSync, options: GroupCommitOptions): Sql {
  const db = new Kysely<Database>({
    dialect: {
      createAdapter: () => new SqliteAdapter(),
      createDriver: () => new NoDriver(),
      createIntrospector: (db) => new SqliteIntrospector(db),
      createQueryCompiler: () => new SqliteQueryCompiler(),
    },
  })
  const groups = new GroupCommit(writer, options)
  const write = createExecute(writer)
  const read = createExecute(reader)
  const writeInTurn: Run = (statement) => Promise.try(() => write(statement.compile(db)))
  const runTransaction: Sql['transact'] = async (work) => {
    await groups.enter()
    let result: Awaited<ReturnType<typeof work>>
    try {
      result = await work(writeInTurn)
    } catch (error) {
      await groups.leave(false)
      throw error
    }
    await groups.leave(true)
    return result
  }
  const transact: Sql['transact'] = (work) => orUnavailable(runTransaction(work), isSqliteAway)
  return {
    db,
    run(statement) {
      const query = statement.compile(db)
      const isSelect = query.query.kind === 'SelectQueryNode'
      if (isSelect)
        return orUnavailable(
          retryBusy(() => read(query), options.lockTimeoutMs),
          isSqliteAway,
        )
      return transact(() => Promise.try(() => write(query)))
    },
    transact,
    locksRows: false,
    isOneOf: (ids) => sql<SqlBool>`id in (select value from json_each(${JSON.stringify(ids)}))`,
    [Symbol.asyncDispose]() {
      reader.close()
      writer.close()
      return Promise.resolve()
    },
  }
}

/** `Sql.run` runs the statements. Kysely's own driver has one connection, on which they would queue. */
class NoDriver extends DummyDriver {
  override acquireConnection(): never {
    throw new Error('Pass the statement to Sql.run instead of executing it')
  }
}

/** Runs statements on a connection, each prepared once. */
function createExecute(db: DatabaseSync): <Row>(query: CompiledQuery<Row>) => QueryResult<Row> {
  const statements = new LRUCache<string, { statement: StatementSync; returns: boolean }>({
    max: MAX_STATEMENTS,
  })
  return <Row>({ sql, parameters }: CompiledQuery<Row>): QueryResult<Row> => {
    let prepared = statements.get(sql)
    if (prepared === undefined) {
      const statement = db.prepare(sql)
      prepared = { statement, returns: statement.columns().length > 0 }
      statements.set(sql, prepared)
    }
    const { statement, returns } = prepared
    const values = parameters as SQLInputValue[]
    if (returns) return { rows: statement.all(...values) as Row[] }
    return { rows: [], numAffectedRows: BigInt(statement.run(...values).changes) }
  }
}
