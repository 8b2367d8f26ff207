import { setTimeout as pause } from 'node:timers/promises'
import type { Log, TaskHints } from '../tasks/ports.ts'
import type { UpscaleTask } from '../tasks/task.ts'
import { createLocalHints } from './local-hints.ts'
import { PostgresLink } from './postgres-link.ts'

export interface PostgresHintsOptions {
  readonly url: string
  readonly log: Log
  /** Gets the age of each hint of another replica, in milliseconds by both machines' clocks. */
  readonly onHint?: (lagMs: number) => void
  /** How often all watched tasks are re-read if notifications do not arrive; default 2 s. */
  readonly pollMs?: number
}

/** Hints that are announced within this time share a notification. */
const BATCH_MS = 10
/** PostgreSQL accepts payloads of less than 8,000 bytes. */
const MAX_PAYLOAD_BYTES = 7_900
/** How many hints are kept for the next connection. */
const MAX_UNSENT = 10_000
const HEARTBEAT_MS = 5_000
const MIN_BACK_OFF_MS = 100
const MAX_BACK_OFF_MS = 2_000
const POLL_MS = 2_000

const POOLED =
  'hints of other replicas do not arrive over LISTEN: the connection leads through a transaction pooler (PgBouncer, for ' +
  'example). Watched tasks are read again every few seconds instead. Set DATABASE_LISTEN_URL to a direct connection to ' +
  'the database, or REDIS_URL'

/**
 * Hints over LISTEN and NOTIFY: every replica receives every hint. They have their own connection, because a NOTIFY in
 * a commit takes a lock of the whole database. A lost connection is replaced; then every listener is woken, because
 * hints may have been missed. Until then each watcher re-reads its task at every re-assertion.
 */
export async function openPostgresHints(options: PostgresHintsOptions): Promise<TaskHints & AsyncDisposable> {
  const hints = new PostgresHints(options)
  await hints.open()
  return hints
}

class PostgresHints implements TaskHints, AsyncDisposable {
  readonly #options: PostgresHintsOptions
  readonly #local = createLocalHints()
  readonly #unsent = new Set<string>()
  readonly #ended = new AbortController()
  #link: PostgresLink | undefined
  #sending: Promise<void> | undefined
  #polling: NodeJS.Timeout | undefined
  #running = Promise.resolve()

  constructor(options: PostgresHintsOptions) {
    this.#options = options
  }

  async open(): Promise<void> {
    const { log, pollMs = POLL_MS } = this.#options
    const link = await this.#connect()
    const isDirect = await link.probe().catch(async (error: unknown) => {
      await link.close()
      throw error
    })
    if (!isDirect) {
      log.warn({ everyMs: pollMs }, POOLED)
      this.#polling = setInterval(() => this.#local.announceAll(), pollMs)
    }
    this.#running = this.#run(link)
  }

  listen(taskId: string, wake: (state?: UpscaleTask) => void): Promise<Disposable> {
    return this.#local.listen(taskId, wake)
  }

  announce(taskId: string, state?: UpscaleTask): void {
    this.#local.announce(taskId, state)
    if (this.#unsent.size < MAX_UNSENT) this.#unsent.add(taskId)
    this.#send()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort()
    clearInterval(this.#polling)
    await this.#running
  }

  async #connect(): Promise<PostgresLink> {
    this.#link = await PostgresLink.open(this.#options.url, (payload) => {
      const [sentAt, ...ids] = payload.split(' ')
      this.#options.onHint?.(Date.now() - Number(sentAt))
      for (const id of ids) this.#local.announce(id)
    })
    return this.#link
  }

  async #run(first: PostgresLink): Promise<void> {
    for (let link: PostgresLink | undefined = first; link !== undefined; link = await this.#reconnect()) {
      await this.#keepAlive(link)
      await this.#sending
      this.#link = undefined
      await link.close()
    }
  }

  /** Resolves when the link is lost or the hints are disposed of. */
  async #keepAlive(link: PostgresLink): Promise<void> {
    const signal = AbortSignal.any([link.lost, this.#ended.signal])
    while (await sleep(HEARTBEAT_MS, signal)) await link.check()
    const err: unknown = link.lost.reason
    if (link.lost.aborted)
      this.#options.log.warn({ err }, 'the connection for hints of other replicas was lost')
  }

  async #reconnect(): Promise<PostgresLink | undefined> {
    const { log } = this.#options
    for (let backOffMs = MIN_BACK_OFF_MS; !this.#ended.signal.aborted; backOffMs *= 2) {
      try {
        const link = await this.#connect()
        log.info({}, 'the connection for hints of other replicas is open again')
        this.#local.announceAll()
        this.#send()
        return link
      } catch (error) {
        log.warn({ err: error }, 'no connection for hints of other replicas; trying again')
        await sleep(Math.min(backOffMs, MAX_BACK_OFF_MS) * (0.5 + Math.random() / 2), this.#ended.signal)
      }
    }
    return undefined
  }

  #send(): void {
    if (this.#link === undefined || this.#unsent.size === 0) return
    this.#sending ??= this.#sendBatches().finally(() => {
      this.#sending = undefined
      if (!this.#ended.signal.aborted) this.#send()
    })
  }

  async #sendBatches(): Promise<void> {
    await sleep(BATCH_MS, this.#ended.signal)
    // Hints that are lost with the link need no retry: the other replicas re-read when they reconnect, or on a timer.
    while (this.#unsent.size > 0 && this.#link !== undefined)
      if (!(await this.#link.notify(this.#takePayload()))) return
  }

  #takePayload(): string {
    let payload = String(Date.now())
    for (const id of this.#unsent) {
      if (payload.length + id.length >= MAX_PAYLOAD_BYTES) break
      payload += ` ${id}`
      this.#unsent.delete(id)
    }
    return payload
  }
}

/** False: the signal has ended the sleep early. */
function sleep(ms: number, signal: AbortSignal): Promise<boolean> {
  return pause(ms, true, { signal }).catch(() => false)
}
