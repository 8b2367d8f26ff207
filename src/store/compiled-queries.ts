import type { Compilable, CompiledQuery, Kysely, QueryResult } from 'kysely'
import type { Database } from './schema.ts'

/** Queries of the ways that are gone most, built and compiled once for each shape; what differs then are their values. */
export class CompiledQueries {
  readonly #kept = new Map<string, CompiledQuery>()

  /** `values` stand in the order in which the statement names them, as `build` would have put them there. */
  run<Row>(
    db: Kysely<Database>,
    shape: string,
    values: readonly unknown[],
    build: () => Compilable<Row>,
  ): Promise<QueryResult<Row>> {
    let query = this.#kept.get(shape) as CompiledQuery<Row> | undefined
    if (query === undefined) {
      query = build().compile()
      this.#kept.set(shape, query)
    }
    return db.executeQuery({ ...query, parameters: values })
  }
}
