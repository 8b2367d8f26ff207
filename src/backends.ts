import { resolve } from 'node:path'
import type { Pool } from 'pg'
import type { Settings } from './settings.ts'
import { createLocalHints, type LocalHints, type SharedHints } from './replicas/local-hints.ts'
import { openPostgresHints } from './replicas/postgres-hints.ts'
import { openRedisHints } from './replicas/redis-hints.ts'
import { openRedisClient } from './replicas/redis-client.ts'
import {
  createMemoryLimiter,
  createPostgresLimiter,
  createRedisLimiter,
  type CreateLimiter,
  type Rate,
} from './replicas/limiters.ts'
import type { Migrated } from './store/migrations/migrations.ts'
import { isPostgresAway } from './store/postgres-errors.ts'
import { migratePostgres } from './store/postgres-migrations.ts'
import { openPostgres, type PostgresOptions } from './store/postgres.ts'
import type { Stores } from './store/sql.ts'
import { DatabaseInUseError } from './store/sqlite/locks.ts'
import { openSqlite } from './store/sqlite/open.ts'
import { orUnavailable } from './store/unavailable.ts'
import { StartError, toStartError } from './start-error.ts'
import { createPollBudget, createSharedPollBudget } from './replicas/poll-budget.ts'
import {
  createOwnAccountLimit,
  createSharedAccountLimit,
  type AccountLimit,
} from './replicas/account-limit.ts'
import type { Clock, Log, TaskHints } from './tasks/ports.ts'
import { NO_TRACING, type Tracing } from './tasks/tracing.ts'
import type { PollBudget } from './tasks/rates.ts'

/** The maximum of connections for rate limits. */
const LIMITER_POOL_SIZE = 3

/** What replicas share, or its equivalent in a single process. */
export interface Backends extends Stores {
  readonly hints: TaskHints
  readonly createLimiter: CreateLimiter
  readonly createAccountLimit: (engine: string, rate: Rate) => AccountLimit
  readonly budget: PollBudget
  /** Connections to the database; undefined where there is no pool. */
  pool(): { readonly total: number; readonly idle: number; readonly waiting: number } | undefined
  /** Whether hints of other replicas arrive; undefined for a single process. */
  hintsUp(): boolean | undefined
}

interface BackendOptions {
  readonly pollsPerSecond: number
  readonly clock: Clock
  readonly log: Log
  readonly tracing: Tracing
  /** Called with the age of each hint of another replica when it arrives, in milliseconds. */
  onHint(lagMs: number): void
  /** The hints of a single process; default: new ones. */
  readonly hints?: LocalHints | undefined
  /** The hints between replicas, which the caller opens and disposes of; default: new ones. */
  readonly sharedHints?: SharedHints | undefined
}

/** Opens the databases of the settings: one file for one process, or servers for any number of replicas. */
export function openBackends(
  {
    database,
    redisUrl,
    databaseListenUrl,
    poolSize,
  }: Pick<Settings, 'database' | 'redisUrl' | 'databaseListenUrl' | 'poolSize'>,
  options: BackendOptions,
): Promise<Backends> {
  return database.kind === 'sqlite'
    ? openAlone(database.file, options)
    : openShared({ url: database.url, listenUrl: databaseListenUrl, redisUrl, poolSize }, options)
}

async function openAlone(
  file: string,
  { clock, pollsPerSecond, log, tracing, hints = createLocalHints() }: BackendOptions,
): Promise<Backends> {
  await using opened = new AsyncDisposableStack()
  const stores = opened.use(await openFile(file, hints, tracing))
  logMigration(stores.migrated, log)
  const rest = opened.move()
  return {
    ...stores,
    hints,
    createLimiter: createMemoryLimiter,
    createAccountLimit: (_engine, rate) => createOwnAccountLimit(clock, rate),
    budget: createPollBudget(clock, pollsPerSecond),
    pool: () => undefined,
    hintsUp: () => undefined,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

function openFile(file: string, hints: TaskHints, tracing = NO_TRACING) {
  const options = { exclusive: true, tracing }
  return explained(`DATABASE_URL: ${resolve(file)}`, () => openSqlite(file, hints, options))
}

function openServer(url: string, hints: TaskHints, options: PostgresOptions) {
  return explained(`DATABASE_URL: ${toPlace(url)}`, () => openPostgres(url, hints, options))
}

/** Opens the database of the settings without a service, for a command: nothing is announced. */
export function openStores({ database }: Pick<Settings, 'database'>, log: Log): Promise<Stores> {
  const hints = createLocalHints()
  return database.kind === 'sqlite'
    ? openFile(database.file, hints)
    : openServer(database.url, hints, { log })
}

interface SharedUrls {
  readonly url: string
  /** Null: LISTEN uses `url`, too. */
  readonly listenUrl: string | null
  readonly redisUrl: string | null
  readonly poolSize: number
}

async function openShared(
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
      await explained(
        listenUrl === null ? `DATABASE_URL: ${toPlace(url)}` : `DATABASE_LISTEN_URL: ${toPlace(listenUrl)}`,
        openHints,
      ),
    )
  const stores = opened.use(await openServer(url, hints, { log, tracing, poolSize }))
  logMigration(stores.migrated, log)
  const { store, queueStore, outbox, resultJobs, copyUses, eraseOwner, pool, openPool } = stores
  const openPostgresLimiters = async () => {
    // Limits are checked while a transaction holds a connection of the main pool: on the same pool, or through the same
    // transaction pooler, they could deadlock.
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

/** Also logs that an empty database has got its tables. */
function logMigration({ from, to }: Migrated, log: Log): void {
  if (from !== to) log.info({ from, to }, `The database was migrated from ${from ?? 'empty'} to ${to}`)
}

/**
 * Migrates the database of the settings, as a start does, and logs one line.
 * @throws StartError for an error that the operator can remedy.
 */
export async function migrateDatabase({ database }: Pick<Settings, 'database'>, log: Log): Promise<void> {
  const migrated = await (database.kind === 'sqlite'
    ? migrateFile(database.file)
    : migrateServer(database.url, log))
  if (migrated.from === migrated.to)
    log.info(migrated, `The database is at ${migrated.to}: nothing to migrate`)
  logMigration(migrated, log)
}

async function migrateFile(file: string): Promise<Migrated> {
  await using stores = await openFile(file, createLocalHints())
  return stores.migrated
}

function migrateServer(url: string, log: Log): Promise<Migrated> {
  return explained(`DATABASE_URL: ${toPlace(url)}`, () => migratePostgres(url, log))
}

/** `kie-midjourney` shares its count with replicas of a release that has one engine. */
function toLimiterName(engine: string): string {
  return engine === 'kie-midjourney' ? 'upstream' : `upstream:${engine}`
}

/** @throws StartError for an error that the operator can remedy. */
async function explained<T>(subject: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open()
  } catch (error) {
    if (error instanceof DatabaseInUseError) throw new StartError(error.message)
    throw toStartError(subject, error)
  }
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
      log.warn({}, `Redis: ${reason}. Until then each replica counts rate limits for itself`),
    ),
  )
  return createRedisLimiter(redis)
}
