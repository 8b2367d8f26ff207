import type { AccountLimit } from './replicas/account-limit.ts'
import type { CreateLimiter, Rate } from './replicas/limit.ts'
import type { LocalHints, SharedHints } from './replicas/local-hints.ts'
import type { Stores } from './store/sql.ts'
import type { Clock, Log, TaskHints } from './tasks/ports.ts'
import type { PollBudget } from './tasks/rates.ts'
import type { Tracing } from './tasks/tracing.ts'

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

export interface BackendOptions {
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
