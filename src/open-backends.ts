import { resolve } from 'node:path'
import { logMigration } from './announce.ts'
import type { BackendOptions, Backends } from './backends.ts'
import type { Settings } from './settings.ts'
import { createLocalAccountLimit } from './replicas/account-limit.ts'
import { createMemoryLimiter } from './replicas/limiters.ts'
import { createLocalHints } from './replicas/local-hints.ts'
import { createPollBudget } from './replicas/poll-budget.ts'
import { explainErrors, StartError } from './start-error.ts'
import type { Stores } from './store/sql.ts'
import { DatabaseInUseError } from './store/sqlite/locks.ts'
import { openSqlite } from './store/sqlite/open.ts'
import type { Log, TaskHints } from './tasks/ports.ts'
import { NO_TRACING } from './tasks/tracing.ts'

/** Loaded only when needed: the drivers of PostgreSQL and Redis take time and memory. */
const loadShared = () => import('./postgres-backends.ts')

/** Opens the databases of the settings: one file for one process, or servers for any number of replicas. */
export async function openBackends(
  {
    database,
    redisUrl,
    databaseListenUrl,
    poolSize,
  }: Pick<Settings, 'database' | 'redisUrl' | 'databaseListenUrl' | 'poolSize'>,
  options: BackendOptions,
): Promise<Backends> {
  if (database.kind === 'sqlite') return openAlone(database.file, options)
  const { openShared } = await loadShared()
  return openShared({ url: database.url, listenUrl: databaseListenUrl, redisUrl, poolSize }, options)
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
    createAccountLimit: (_engine, rate) => createLocalAccountLimit(clock, rate),
    budget: createPollBudget(clock, pollsPerSecond),
    pool: () => undefined,
    hintsUp: () => undefined,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

export function openFile(file: string, hints: TaskHints, tracing = NO_TRACING) {
  return explainErrors(`DATABASE_URL: ${resolve(file)}`, () =>
    openSqlite(file, hints, { exclusive: true, tracing }).catch((error: unknown) => {
      throw error instanceof DatabaseInUseError ? new StartError(error.message) : error
    }),
  )
}

/** Opens the database of the settings without a service, for a command: nothing is announced. */
export async function openStores({ database }: Pick<Settings, 'database'>, log: Log): Promise<Stores> {
  const hints = createLocalHints()
  if (database.kind === 'sqlite') return openFile(database.file, hints)
  return (await loadShared()).openServer(database.url, hints, { log })
}
