/** Where tasks are stored, and what replicas share. */
import { databaseUrl, postgresUrl, redisUrl } from './urls.ts'
import { integer, optional } from './values.ts'

export const databaseSettings = {
  databaseUrl: databaseUrl
    .prefault('file:./data/upscale.db')
    .describe(
      'The SQLite file, for one process; or `postgres://…`, for any number of replicas. See [operations](docs/operations.md).',
    ),
  databaseListenUrl: optional(postgresUrl).describe(
    'A direct connection to the database of `DATABASE_URL`, if that is behind a transaction pooler. It serves `LISTEN` and the counts of rate limits: see [operations](docs/operations.md#through-pgbouncer).',
  ),
  redisUrl: optional(redisUrl).describe(
    'With PostgreSQL: Redis or Valkey for hints between replicas and for shared counts. Without it PostgreSQL does both.',
  ),
  poolSize: integer(2, 1_000)
    .prefault('10')
    .describe(
      'With PostgreSQL: the maximum of connections of one process for its statements. See [operations](docs/operations.md#connections-to-postgresql).',
    ),
}
