import { resolve } from 'node:path'
import type { Config } from './config.ts'
import { createLocalHints, type LocalHints } from './hints/local.ts'
import { openPostgresHints } from './hints/postgres.ts'
import { openRedisHints } from './hints/redis.ts'
import { openRedisClient } from './hints/redis-client.ts'
import {
  createMemoryLimiter,
  createPostgresLimiter,
  createRedisLimiter,
  type CreateLimiter,
} from './limits/limiters.ts'
import { createSharedPollBudget } from './limits/shared-poll-budget.ts'
import { openPool, openPostgres } from './store/postgres.ts'
import { DatabaseInUseError, lockService } from './store/service-lock.ts'
import { openSqlite } from './store/sqlite.ts'
import type { Stores } from './store/stores.ts'
import { StartError, toStartError } from './start-error.ts'
import { createPollBudget, type PollBudget } from './tasks/poll-budget.ts'
import type { Clock, Log, TaskHints } from './tasks/ports.ts'

/** Connections that rate limits may take up at once. */
const LIMITER_POOL_SIZE = 3

/** What replicas share, or what stands in for it where there is only one. */
export interface Backends extends Stores {
  readonly hints: TaskHints
  readonly createLimiter: CreateLimiter
  readonly budget: PollBudget
  /** Connections to the database; undefined where there is no pool. */
  pool(): { readonly total: number; readonly idle: number; readonly waiting: number } | undefined
}

export interface BackendOptions {
  readonly pollsPerSecond: number
  readonly clock: Clock
  readonly log: Log
  /** Told how old a hint of another replica was when it came, in milliseconds. */
  onHint(lagMs: number): void
  /** The hints of a process that is alone; its own unless given. */
  readonly hints?: LocalHints
}

/** Opens what the settings name: one file for one process, or servers for any number of replicas. */
export function openBackends(
  { database, redisUrl }: Pick<Config, 'database' | 'redisUrl'>,
  options: BackendOptions,
): Promise<Backends> {
  return database.kind === 'sqlite'
    ? openAlone(database.file, options)
    : openShared(database.url, redisUrl, options)
}

async function openAlone(
  file: string,
  { clock, pollsPerSecond, hints = createLocalHints() }: BackendOptions,
): Promise<Backends> {
  await using opened = new AsyncDisposableStack()
  const { store, outbox } = await explained(`DATABASE_URL: ${resolve(file)}`, async () => {
    opened.use(await lockService(file))
    return opened.use(await openSqlite(file, hints))
  })
  const rest = opened.move()
  return {
    store,
    outbox,
    hints,
    createLimiter: createMemoryLimiter,
    budget: createPollBudget(clock, pollsPerSecond),
    pool: () => undefined,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

async function openShared(url: string, redisUrl: string | null, options: BackendOptions): Promise<Backends> {
  const { clock, pollsPerSecond, log, onHint } = options
  await using opened = new AsyncDisposableStack()
  const { hints, stores } = await explained(`DATABASE_URL: ${toPlace(url)}`, async () => {
    const hints = opened.use(
      redisUrl === null
        ? await openPostgresHints({ url, log, onHint })
        : await openRedisHints({ url: redisUrl, log, onHint }),
    )
    return { hints, stores: opened.use(await openPostgres(url, hints, log)) }
  })
  const { store, outbox, pool } = stores
  const createLimiter =
    redisUrl === null
      ? openPostgresLimiters(opened, url, log)
      : await openRedisLimiters(opened, redisUrl, log)
  const rest = opened.move()
  return {
    store,
    outbox,
    hints,
    createLimiter,
    budget: createSharedPollBudget(createLimiter, pollsPerSecond, clock),
    pool: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount }),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** Explains an error that the operator can remedy. */
async function explained<T>(subject: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open()
  } catch (error) {
    if (error instanceof DatabaseInUseError) throw new StartError(error.message)
    throw toStartError(subject, error)
  }
}

/** Where a database is, without the secrets of its URL. */
function toPlace(url: string): string {
  if (!URL.canParse(url)) return 'the PostgreSQL server'
  const { host, pathname } = new URL(url)
  return `the PostgreSQL server ${host}${pathname}`
}

function openPostgresLimiters(opened: AsyncDisposableStack, url: string, log: Log): CreateLimiter {
  // A pool of their own: limits are asked while a transaction holds a connection of the other.
  const pool = openPool(url, log, LIMITER_POOL_SIZE)
  opened.defer(() => pool.end())
  return createPostgresLimiter(pool)
}

async function openRedisLimiters(
  opened: AsyncDisposableStack,
  url: string,
  log: Log,
): Promise<CreateLimiter> {
  // Limits are asked while a transaction is open: a Redis that hangs must not hold it up.
  const options = { enableOfflineQueue: false, commandTimeout: 200 }
  const { redis } = opened.use(
    await openRedisClient(url, options, (error) =>
      log.warn({ err: error }, 'Redis does not answer: each replica counts for itself'),
    ),
  )
  return createRedisLimiter(redis)
}
