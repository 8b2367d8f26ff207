import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import {
  Kysely,
  sql,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type CompiledQuery,
  type DatabaseConnection,
  type Driver,
  type QueryResult,
  type SqlBool,
} from 'kysely'
import { LRUCache } from 'lru-cache'
import { GroupCommit, type GroupCommitOptions } from './group-commit.ts'
import type { Database } from '../schema.ts'
import type { Run, Sql } from '../sql.ts'
import { retryBusy } from './busy.ts'

/** Statements kept prepared; they differ by how many values a list has. */
const MAX_STATEMENTS = 300

/**
 * SQL on node:sqlite, with two connections to one file in WAL mode: `writer` for transactions and whatever changes
 * something, committed in groups; `reader` for selects outside of transactions, which do not queue and see only what is
 * committed. Neither has a busy time-out. (Kysely's own dialect has one connection for all, and wakes every waiter at every turn.)
 */
export function createSqlite(writer: DatabaseSync, reader: DatabaseSync, options: GroupCommitOptions): Sql {
  const turns = new GroupCommit(writer, options)
  const writeNow = createExecute(writer)
  const readNow = createExecute(reader)
  // In a promise, so that an error of SQLite is a rejection.
  const write: Run = (query) => new Promise((resolve) => resolve(writeNow(query)))
  const read: Run = (query) => retryBusy(() => readNow(query), options.lockTimeoutMs)
  const transact: Sql['transact'] = async (work) => {
    await turns.enter()
    let result: Awaited<ReturnType<typeof work>>
    try {
      result = await work(write)
    } catch (error) {
      await turns.leave(false)
      throw error
    }
    await turns.leave(true)
    return result
  }
  const run: Run = (query) =>
    query.query.kind === 'SelectQueryNode' ? read(query) : transact((run) => run(query))
  const driver = new SqliteDriver(turns, write, run, () => {
    reader.close()
    writer.close()
  })
  const db = new Kysely<Database>({
    dialect: {
      createAdapter: () => new Adapter(),
      createDriver: () => driver,
      createIntrospector: (db) => new SqliteIntrospector(db),
      createQueryCompiler: () => new SqliteQueryCompiler(),
    },
  })
  return { db, run, transact, lists: LISTS }
}

const toJson = (list: readonly string[]) => JSON.stringify(list)
const LISTS: Sql['lists'] = {
  toValue: toJson,
  haveId: (list) => sql<SqlBool>`id in (select value from json_each(${toJson(list)}))`,
}

class Adapter extends SqliteAdapter {
  override get supportsMultipleConnections(): boolean {
    return true
  }
}

/** For what Kysely runs by itself. */
class SqliteDriver implements Driver {
  readonly #turns: GroupCommit
  readonly #write: Run
  readonly #run: Run
  readonly #close: () => void

  constructor(turns: GroupCommit, write: Run, run: Run, close: () => void) {
    this.#turns = turns
    this.#write = write
    this.#run = run
    this.#close = close
  }

  init(): Promise<void> {
    return Promise.resolve()
  }

  acquireConnection(): Promise<SqliteConnection> {
    return Promise.resolve(new SqliteConnection(this.#turns, this.#write, this.#run))
  }

  beginTransaction(connection: SqliteConnection): Promise<void> {
    return connection.begin()
  }

  commitTransaction(connection: SqliteConnection): Promise<void> {
    return connection.end(true)
  }

  rollbackTransaction(connection: SqliteConnection): Promise<void> {
    return connection.end(false)
  }

  releaseConnection(): Promise<void> {
    return Promise.resolve()
  }

  destroy(): Promise<void> {
    this.#close()
    return Promise.resolve()
  }
}

class SqliteConnection implements DatabaseConnection {
  readonly #turns: GroupCommit
  readonly #write: Run
  readonly #run: Run
  #inTransaction = false

  constructor(turns: GroupCommit, write: Run, run: Run) {
    this.#turns = turns
    this.#write = write
    this.#run = run
  }

  async begin(): Promise<void> {
    await this.#turns.enter()
    this.#inTransaction = true
  }

  end(keep: boolean): Promise<void> {
    this.#inTransaction = false
    return this.#turns.leave(keep)
  }

  executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    const run = this.#inTransaction ? this.#write : this.#run
    return run(query as CompiledQuery<Row>)
  }

  streamQuery(): never {
    throw new Error('Nothing is streamed here')
  }
}

type Execute = <Row>(query: CompiledQuery<Row>) => QueryResult<Row>

/** Runs statements on a connection, each prepared once. */
function createExecute(db: DatabaseSync): Execute {
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
