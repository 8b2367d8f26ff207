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
   * Everything that is run by the `run` it is given is one transaction: all of it is kept, or nothing. Where it rejects because
   * the end of it was not confirmed, it may have been kept all the same.
   */
  transact<T>(work: (run: Run) => Promise<T>): Promise<T>
  /** After the disk has refused to grow a file: rejects while it still does. A row may be written where nothing has to grow. */
  readonly checkSpace?: () => Promise<void>
  /** Rejects once the file that is open is no longer the one at its path: the next start would not find what is written. */
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
