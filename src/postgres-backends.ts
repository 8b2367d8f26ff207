/**
 * What replicas share, on PostgreSQL and Redis. Loaded only where the settings name them: the drivers take
 * time and memory.
 */
import type { Pool } from 'pg'
import { logMigration } from './announce.ts'
import type { BackendOptions, Backends } from './backends.ts'
import { createSharedAccountLimit } from './replicas/account-limit.ts'
import type { CreateLimiter } from './replicas/limit.ts'
import { createRedisLimiter } from './replicas/limiters.ts'
import { createSharedPollBudget } from './replicas/poll-budget.ts'
import { openPostgresHints } from './replicas/postgres-hints.ts'
import { createPostgresLimiter } from './replicas/postgres-limiter.ts'
import { openRedisClient } from './replicas/redis-client.ts'
import { openRedisHints } from './replicas/redis-hints.ts'
import { explainErrors, StartError } from './start-error.ts'
import type { Migrated } from './store/migrations/migrations.ts'
import { isPostgresAway } from './store/postgres-errors.ts'
import { migratePostgres } from './store/postgres-migrations.ts'
import { openPostgres, type PostgresOptions } from './store/postgres.ts'
import { orUnavailable } from './store/unavailable.ts'
import type { Log, TaskHints } from './tasks/ports.ts'

/** The maximum of connections for rate limits. */
const LIMITER_POOL_SIZE = 3

interface SharedUrls {
  readonly url: string
  /** Null: LISTEN uses `url`, too. */
  readonly listenUrl: string | null
  readonly redisUrl: string | null
  readonly poolSize: number
}

export async function openShared(
  { url, redisUrl, listenUrl, poolSize }: SharedUrls,
  options: BackendOptions,
): Promise<Backends> {
  const { clock, pollsPerSecond, log, tracing, onHint } = options
  await using opened = new AsyncDisposableStack()
  const openHints = () =>
    redisUrl === null
      ? openPostgresHints({ url: listenUrl ?? url, log, onHint })
      : openRedisHints({ url: redisUrl, log, onHint })
  const hints =
    options.sharedHints ??
    opened.use(
      await explainErrors(
        listenUrl === null ? `DATABASE_URL: ${toPlace(url)}` : `DATABASE_LISTEN_URL: ${toPlace(listenUrl)}`,
        openHints,
      ),
    )
  const stores = opened.use(await openServer(url, hints, { log, tracing, poolSize }))
  const { store, queueStore, outbox, resultJobs, copyUses, eraseOwner, migrated, pool, openPool } = stores
  logMigration(migrated, log)
  const openPostgresLimiters = async () => {
    // Limits are checked while a transaction holds a connection of the main pool: on the same pool, or
    // through the same transaction pooler, they could deadlock.
    const limiterPool = openPool(listenUrl ?? url, LIMITER_POOL_SIZE)
    opened.defer(() => limiterPool.end())
    if (listenUrl !== null) await checkListenUrl(listenUrl, pool, limiterPool)
    return createPostgresLimiter({
      query: (statement) => orUnavailable(limiterPool.query(statement), isPostgresAway),
    })
  }
  const createLimiter =
    redisUrl === null ? await openPostgresLimiters() : await openRedisLimiters(opened, redisUrl, log)
  const rest = opened.move()
  return {
    store,
    queueStore,
    outbox,
    resultJobs,
    copyUses,
    eraseOwner,
    hints,
    createLimiter,
    createAccountLimit: (engine, rate) =>
      createSharedAccountLimit(toLimiterName(engine), createLimiter, clock, rate),
    budget: createSharedPollBudget(createLimiter, pollsPerSecond, clock),
    pool: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    hintsUp: () => hints.isUp,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** Opens the database without anything else that replicas share. */
export function openServer(url: string, hints: TaskHints, options: PostgresOptions) {
  return explainErrors(`DATABASE_URL: ${toPlace(url)}`, () => openPostgres(url, hints, options))
}

export function migrateServer(url: string, log: Log): Promise<Migrated> {
  return explainErrors(`DATABASE_URL: ${toPlace(url)}`, () => migratePostgres(url, log))
}

/** `kie-midjourney` shares its count with replicas of a release that has one engine. */
function toLimiterName(engine: string): string {
  return engine === 'kie-midjourney' ? 'upstream' : `upstream:${engine}`
}

/** Identifies the server (by its start time), database and schema of a connection. */
const PLACE =
  "SELECT concat_ws(' ', extract(epoch FROM pg_postmaster_start_time()), current_database(), current_schema()) AS place"

/** @throws StartError if DATABASE_LISTEN_URL leads to another database or schema than DATABASE_URL. */
async function checkListenUrl(listenUrl: string, ...pools: readonly Pool[]): Promise<void> {
  const [place, ...others] = await Promise.all(
    pools.map(async (pool) => (await pool.query<{ place: string }>(PLACE)).rows[0]?.place),
  )
  if (others.some((other) => other !== place))
    throw new StartError(
      `DATABASE_LISTEN_URL: ${toPlace(listenUrl)} is not the database (and schema) of DATABASE_URL: name the same one`,
    )
}

/** The server and name of a database, without the secrets of its URL. */
function toPlace(url: string): string {
  if (!URL.canParse(url)) return 'the PostgreSQL server'
  const { host, pathname } = new URL(url)
  return `the PostgreSQL server ${host}${pathname}`
}

async function openRedisLimiters(
  opened: AsyncDisposableStack,
  url: string,
  log: Log,
): Promise<CreateLimiter> {
  // Limits are checked while a transaction is open: a Redis that hangs must not delay it.
  const options = { enableOfflineQueue: false, commandTimeout: 200 }
  const redis = opened.use(
    await openRedisClient(url, options, (reason) =>
      log.warn({}, `Redis: ${reason}. Each replica counts rate limits separately until this is fixed`),
    ),
  )
  return createRedisLimiter(redis)
}
