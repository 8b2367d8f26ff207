import { setTimeout as pause } from 'node:timers/promises'
import type { Log } from '../tasks/ports.ts'
import type { UpscaleTask } from '../tasks/task.ts'
import { LocalHints, type SharedHints } from './local-hints.ts'
import { PostgresLink } from './postgres-link.ts'
import { UnsentHints } from './unsent-hints.ts'

interface PostgresHintsOptions {
  readonly url: string
  readonly log: Log
  /**
   * Called with the age of each hint of another replica in milliseconds: the difference of both machines'
   * clocks.
   */
  readonly onHint?: (lagMs: number) => void
  /** How often all watched tasks are re-read if notifications do not arrive; default 2 s. */
  readonly pollMs?: number
  /** How often to check whether notifications arrive. Each check announces this replica. Default 10 s. */
  readonly probeEveryMs?: number
  /** This replica counts as alone after this time without a notification of another one; default 30 s. */
  readonly aloneAfterMs?: number
}

interface PostgresSharedHints extends SharedHints {
  /** Whether no notification of another replica arrived for `aloneAfterMs`: then no hints are sent. */
  readonly isAlone: boolean
}

/** Hints that are announced within this time share a notification. */
const BATCH_MS = 10
const HEARTBEAT_MS = 5_000
const MIN_BACK_OFF_MS = 100
const MAX_BACK_OFF_MS = 2_000
const POLL_MS = 2_000
const PROBE_EVERY_MS = 10_000
/** Three probes. */
const ALONE_AFTER_MS = 3 * PROBE_EVERY_MS

const DEAF =
  'hints of other replicas do not arrive over LISTEN: the connection probably leads through a transaction pooler ' +
  '(PgBouncer, for example). Watched tasks are read again every few seconds instead. Set DATABASE_LISTEN_URL to a direct ' +
  'connection to the database, or REDIS_URL'

/**
 * Hints over LISTEN and NOTIFY: every replica receives every hint. They use their own connection, because a
 * NOTIFY in a commit locks the whole database. A lost connection is replaced, and every listener is woken,
 * because hints may have been lost. Without a connection, each watcher re-reads its task at every
 * re-assertion. While the connection is open, but notifications do not arrive (a pooler, a lost LISTEN), all
 * watched tasks are re-read every `pollMs`. A replica that receives nothing from others for `aloneAfterMs`
 * sends no hints, because a notification costs two commits. Each replica announces itself when it begins to
 * listen and with every probe.
 */
export async function openPostgresHints(options: PostgresHintsOptions): Promise<PostgresSharedHints> {
  const hints = new PostgresHints(options)
  await hints.open()
  return hints
}

class PostgresHints extends LocalHints implements PostgresSharedHints {
  readonly #options: PostgresHintsOptions
  readonly #unsent = new UnsentHints()
  readonly #ended = new AbortController()
  #polling: NodeJS.Timeout | undefined
  #running = Promise.resolve()
  #isConnected = false
  /** When a notification of another replica last arrived, or may have been missed; on the monotonic clock. */
  #lastReceivedAt = performance.now()

  constructor(options: PostgresHintsOptions) {
    super()
    this.#options = options
  }

  async open(): Promise<void> {
    const { url } = this.#options
    const link = new PostgresLink(url)
    await link.listen()
    const isDirect = await link.probe().catch(async (error: unknown) => {
      await link.close()
      throw error
    })
    this.#setReceiving(isDirect)
    this.#running = this.#run(link)
  }

  get isUp(): boolean {
    return this.#isConnected && !this.#isDeaf()
  }

  get isAlone(): boolean {
    const { aloneAfterMs = ALONE_AFTER_MS } = this.#options
    return this.isUp && performance.now() - this.#lastReceivedAt >= aloneAfterMs
  }

  #isDeaf(): boolean {
    return this.#polling !== undefined
  }

  /** Records whether notifications arrive. While they do not, all watched tasks are re-read. */
  #setReceiving(arrives: boolean): void {
    if (arrives !== this.#isDeaf()) return
    const { log, pollMs = POLL_MS } = this.#options
    clearInterval(this.#polling)
    this.#lastReceivedAt = performance.now()
    this.#polling = arrives ? undefined : setInterval(() => this.announceAll(), pollMs)
    if (arrives) log.info({}, 'hints of other replicas arrive again')
    else log.warn({ everyMs: pollMs }, DEAF)
    this.announceAll()
  }

  override announce(topic: string, state?: UpscaleTask): void {
    super.announce(topic, state)
    if (!this.isAlone) this.#unsent.add(topic)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort()
    this.#unsent.wake()
    clearInterval(this.#polling)
    await this.#running
  }

  async #run(first: PostgresLink): Promise<void> {
    for (let link: PostgresLink | undefined = first; link !== undefined; link = await this.#reconnect()) {
      link.receive((payload) => this.#onPayload(payload))
      link.lost.addEventListener('abort', () => this.#unsent.wake())
      this.#isConnected = true
      const probing = this.#probe(link)
      await this.#send(link)
      this.#isConnected = false
      const err: unknown = link.lost.reason
      if (link.lost.aborted && !this.#isDeaf())
        this.#options.log.warn({ err }, 'the connection for hints of other replicas was lost')
      await link.close()
      await probing
    }
  }

  /** Checks regularly whether notifications of another connection arrive. If not, the link is replaced. */
  async #probe(link: PostgresLink): Promise<void> {
    const { log, probeEveryMs = PROBE_EVERY_MS } = this.#options
    const over = AbortSignal.any([link.lost, this.#ended.signal])
    const isOver = () => over.aborted
    for (;;) {
      await sleep(probeEveryMs, over)
      if (isOver()) return
      try {
        const arrives = await link.probe()
        if (isOver()) return
        this.#setReceiving(arrives)
        if (!arrives) link.abandon(new Error('Notifications do not arrive'))
      } catch (err) {
        log.warn({ err }, 'failed to check whether hints of other replicas arrive')
        // The failed probe did not announce this replica.
        await this.#announcePresence(link)
      }
    }
  }

  /** Announces this replica to the others. */
  #announcePresence(link: PostgresLink): Promise<boolean> {
    return link.send(String(Date.now()))
  }

  #onPayload(payload: string): void {
    this.#lastReceivedAt = performance.now()
    const [sentAt, ...topics] = payload.split(' ')
    this.#options.onHint?.(Date.now() - Number(sentAt))
    for (const topic of topics) super.announce(topic)
  }

  /**
   * Sends hints, and a heartbeat when there are none, until the link is lost or the hints are disposed of.
   */
  async #send(link: PostgresLink): Promise<void> {
    while (await this.#waitForHint(link.lost)) {
      // Hints that did not fit into the last payload have already waited.
      if (!this.#unsent.hasMore) await sleep(BATCH_MS, this.#ended.signal)
      // A batch that is lost needs no retry: the other replicas re-read when they reconnect, or on a timer.
      if (!(await link.send(this.#unsent.takePayload()))) return
    }
  }

  /**
   * Resolves to true when a hint or a heartbeat is due; to false when the link is lost, or nothing remains to
   * send after disposal.
   */
  async #waitForHint(lost: AbortSignal): Promise<boolean> {
    const isOver = () => lost.aborted || this.#ended.signal.aborted
    if (!isOver()) await this.#unsent.waitUntilDue(HEARTBEAT_MS)
    return !lost.aborted && (!this.#unsent.isEmpty || !isOver())
  }

  async #reconnect(): Promise<PostgresLink | undefined> {
    const { url, log } = this.#options
    for (let backOffMs = MIN_BACK_OFF_MS; !this.#ended.signal.aborted; backOffMs *= 2) {
      try {
        const link = new PostgresLink(url)
        await link.listen()
        await this.#announcePresence(link)
        this.#lastReceivedAt = performance.now()
        if (!this.#isDeaf()) log.info({}, 'the connection for hints of other replicas is open again')
        this.announceAll()
        return link
      } catch (err) {
        log.warn({ err }, 'no connection for hints of other replicas; trying again')
        await sleep(Math.min(backOffMs, MAX_BACK_OFF_MS) * (0.5 + Math.random() / 2), this.#ended.signal)
      }
    }
    return undefined
  }
}

/** Waits `ms`, or until the signal aborts. */
async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  await pause(ms, undefined, { signal }).catch(() => undefined)
}
