import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import {
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
} from 'kysely'
import { LRUCache } from 'lru-cache'
import { GroupCommit } from './group-commit.ts'

/** Statements kept prepared; they differ by how many values a list has. */
const MAX_STATEMENTS = 300

/**
 * Kysely on node:sqlite, with two connections to one file in WAL mode: `writer` for transactions and whatever changes
 * something, committed in groups; `reader` for selects outside of transactions, which wait for nobody and see only what is
 * committed. (Kysely's own dialect has one connection for all, and wakes everyone who waits for it at every turn.)
 */
export function createSqliteDialect(writer: DatabaseSync, reader: DatabaseSync): Dialect {
  return {
    createAdapter: () => new Adapter(),
    createDriver: () => new SqliteDriver(writer, reader),
    createIntrospector: (db) => new SqliteIntrospector(db),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  }
}

class Adapter extends SqliteAdapter {
  override get supportsMultipleConnections(): boolean {
    return true
  }
}

class SqliteDriver implements Driver {
  readonly #writer: DatabaseSync
  readonly #reader: DatabaseSync
  readonly #turns: GroupCommit
  readonly #write: Run
  readonly #read: Run

  constructor(writer: DatabaseSync, reader: DatabaseSync) {
    this.#writer = writer
    this.#reader = reader
    this.#turns = new GroupCommit(writer)
    this.#write = createRun(writer)
    this.#read = createRun(reader)
  }

  init(): Promise<void> {
    return Promise.resolve()
  }

  acquireConnection(): Promise<SqliteConnection> {
    return Promise.resolve(new SqliteConnection(this.#turns, this.#write, this.#read))
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
    this.#reader.close()
    this.#writer.close()
    return Promise.resolve()
  }
}

class SqliteConnection implements DatabaseConnection {
  readonly #turns: GroupCommit
  readonly #write: Run
  readonly #read: Run
  #inTransaction = false

  constructor(turns: GroupCommit, write: Run, read: Run) {
    this.#turns = turns
    this.#write = write
    this.#read = read
  }

  async begin(): Promise<void> {
    await this.#turns.enter()
    this.#inTransaction = true
  }

  end(keep: boolean): Promise<void> {
    this.#inTransaction = false
    return this.#turns.leave(keep)
  }

  async executeQuery<Row>(query: CompiledQuery): Promise<QueryResult<Row>> {
    if (this.#inTransaction) return this.#write(query)
    if (query.query.kind === 'SelectQueryNode') return this.#read(query)
    await this.#turns.enter()
    let result: QueryResult<Row>
    try {
      result = this.#write(query)
    } catch (error) {
      await this.#turns.leave(false)
      throw error
    }
    await this.#turns.leave(true)
    return result
  }

  streamQuery(): never {
    throw new Error('Nothing is streamed here')
  }
}

type Run = <Row>(query: CompiledQuery) => QueryResult<Row>

/** Runs statements on a connection, each prepared once. */
function createRun(db: DatabaseSync): Run {
  const statements = new LRUCache<string, { statement: StatementSync; returns: boolean }>({
    max: MAX_STATEMENTS,
  })
  return <Row>({ sql, parameters }: CompiledQuery): QueryResult<Row> => {
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
