import type { ChangeQuery, TaskChange } from './task-change.ts'
import type { OwnerChanges } from './owner-changes.ts'
import type { Clock } from '../ports.ts'
import { CLOCK_TOLERANCE_MS, type TaskStore } from '../store-port.ts'

/** A change is timestamped before its commit: each scan looks back to this long before the last one. */
const OVERLAP_MS = 5_000
/** The least time between the starts of two scans. Each hint of another replica requests one. */
const MIN_INTERVAL_MS = 250
/** How long after a failure a step is repeated. */
const RETRY_MS = 1_000
/** How many changes are listed at once. */
const PAGE_SIZE = 500
/** How many states are read at once. */
const MAX_STATES = 100

interface ScanOptions {
  readonly store: Pick<TaskStore, 'listChanges' | 'readMany'>
  readonly clock: Clock
  readonly owner: string
  readonly fullEveryMs: number
}

interface Scan {
  /** When it began, on the wall clock. */
  readonly at: number
  readonly isFull: boolean
  readonly since: number
  readonly after: ChangeQuery['after']
}

/**
 * Finds changes of an owner's tasks in the store, step by step, so that its memory is bounded. A full scan
 * tolerates clocks of replicas that differ by up to CLOCK_TOLERANCE_MS.
 */
export class ChangeScan {
  readonly #options: ScanOptions
  readonly #changes: OwnerChanges
  /** When the last finished scan, and the last finished full one, began, on the wall clock. */
  #scannedAt = 0
  #fullyScannedAt = 0
  /** On the monotonic clock: when the last scan began, and when steps are due. */
  #startedAt = -Infinity
  #requestedAt = Infinity
  #fullAt = Infinity
  #retryAt = -Infinity
  #running: Scan | null = null
  /** The changed tasks whose states have not been read. */
  #unread: readonly string[] = []

  constructor(options: ScanOptions, changes: OwnerChanges) {
    this.#options = options
    this.#changes = changes
  }

  /** Marks all current states as seen: scans find what changes later. */
  async begin(): Promise<void> {
    const { clock, fullEveryMs } = this.#options
    const at = clock.now()
    let scan: Scan | null = { at, isFull: true, since: at - CLOCK_TOLERANCE_MS, after: null }
    while (scan !== null) {
      const page = await this.#list(scan)
      for (const change of page) this.#changes.skip(change)
      scan = toRest(scan, page)
    }
    this.#scannedAt = at
    this.#fullyScannedAt = at
    this.#fullAt = clock.elapsed() + fullEveryMs
  }

  /** Makes a scan due soon. */
  request(): void {
    this.#requestedAt = Math.min(this.#requestedAt, this.#startedAt + MIN_INTERVAL_MS)
  }

  /** Makes a full scan due now. */
  requestFull(): void {
    this.#fullAt = -Infinity
  }

  /** In how many milliseconds the next step is due. */
  dueInMs(): number {
    const isRunning = this.#running !== null || this.#unread.length > 0
    const dueAt = isRunning ? -Infinity : Math.min(this.#requestedAt, this.#fullAt)
    return Math.max(dueAt, this.#retryAt) - this.#options.clock.elapsed()
  }

  /**
   * Lists a page of changes, or reads the states of changed tasks. After an error, it is due again in
   * RETRY_MS.
   */
  async step(): Promise<void> {
    try {
      if (this.#unread.length > 0) await this.#readStates()
      else await this.#listChanges()
    } catch (error) {
      this.#retryAt = this.#options.clock.elapsed() + RETRY_MS
      throw error
    }
  }

  async #readStates(): Promise<void> {
    const { store, owner } = this.#options
    const found = await store.readMany(this.#unread.slice(0, MAX_STATES))
    const unplaced = found.filter((task) => task.owner === owner && !this.#changes.add(task))
    this.#unread = [...unplaced.map(({ id }) => id), ...this.#unread.slice(MAX_STATES)]
  }

  async #listChanges(): Promise<void> {
    const scan = this.#running ?? this.#start()
    this.#running = scan
    const page = await this.#list(scan)
    this.#unread = page.filter((change) => this.#changes.isNew(change)).map(({ id }) => id)
    this.#running = toRest(scan, page)
    if (this.#running !== null) return
    this.#scannedAt = scan.at
    if (scan.isFull) this.#fullyScannedAt = scan.at
  }

  #start(): Scan {
    const { clock, fullEveryMs } = this.#options
    const [at, elapsed] = [clock.now(), clock.elapsed()]
    const isFull = elapsed >= this.#fullAt
    if (isFull) this.#fullAt = elapsed + fullEveryMs
    this.#startedAt = elapsed
    this.#requestedAt = Infinity
    // The wall clock may have been set back.
    const since = isFull
      ? Math.min(this.#fullyScannedAt, at) - CLOCK_TOLERANCE_MS
      : Math.min(this.#scannedAt, at) - OVERLAP_MS
    return { at, isFull, since, after: null }
  }

  #list({ since, after }: Scan): Promise<TaskChange[]> {
    const { store, owner } = this.#options
    return store.listChanges({ owner, since, after, limit: PAGE_SIZE })
  }
}

/** What remains of a scan after a page; null: nothing. */
function toRest(scan: Scan, page: readonly TaskChange[]): Scan | null {
  return page.length < PAGE_SIZE ? null : { ...scan, after: page.at(-1) ?? null }
}
