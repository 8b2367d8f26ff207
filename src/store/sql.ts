import type { Compilable, CompiledQuery, Expression, Kysely, QueryResult, SqlBool } from 'kysely'
import type { Database } from './schema.ts'

/** Runs a statement. */
export type Run = <Row>(query: CompiledQuery<Row>) => Promise<QueryResult<Row>>

/**
 * A database: Kysely builds the statements of both, and each runs them in its own way. (Kysely's own transactions cost more
 * than what is done in them on SQLite.)
 */
export interface Sql {
  /** Builds statements, and runs those that are seldom run. */
  readonly db: Kysely<Database>
  /** Runs a statement by itself. */
  readonly run: Run
  /**
   * Everything that `work` runs by its `run` is one transaction: it commits as a whole or not at all. If this rejects because
   * the commit was not confirmed, the transaction may have committed.
   */
  transact<T>(work: (run: Run) => Promise<T>): Promise<T>
  /** After the disk was full: rejects until a file can grow again. (A write that needs no new page could succeed before.) */
  readonly checkSpace?: () => Promise<void>
  /** Rejects once the open file is no longer the one at its path: a restart would lose the data. */
  readonly checkFile?: () => Promise<void>
  /** Lists as one value of a statement, so that one statement serves lists of any length. */
  readonly lists: {
    toValue(list: readonly string[]): unknown
    /** Whether `id` is in the list. */
    haveId(list: readonly string[]): Expression<SqlBool>
  }
}

/** Statements of the ways that are gone most, built and compiled once for each shape; what differs then are their values. */
export class CompiledQueries {
  readonly #kept = new Map<string, CompiledQuery>()

  /** `values` stand in the order in which the statement names them, as `build` would have put them there. */
  run<Row>(
    run: Run,
    shape: string,
    values: readonly unknown[],
    build: () => Compilable<Row>,
  ): Promise<QueryResult<Row>> {
    let query = this.#kept.get(shape) as CompiledQuery<Row> | undefined
    if (query === undefined) {
      query = build().compile()
      this.#kept.set(shape, query)
    }
    return run({ ...query, parameters: values })
  }
}
