import { randomUUID } from 'node:crypto'
import { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'

const ANSWER_TIMEOUT_MS = 2_000
/** The connection of a probe may be lost after its query. */
const ignoreLoss = (): void => undefined

/** One connection to PostgreSQL that listens on the channel of its schema, until it is lost. */
export class PostgresLink {
  readonly #url: string
  readonly #socket = new Socket()
  readonly #client: pg.Client
  readonly #lost = new AbortController()
  #channel = ''
  #pid = 0
  #probeId = ''

  constructor(url: string) {
    this.#url = url
    this.#client = createClient(url, this.#socket)
    this.#client.on('error', (error) => this.#lost.abort(error))
    this.#client.on('end', () => this.#lost.abort(new Error('The server closed the connection')))
  }

  /** Aborted when the connection has ended, with the reason. */
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  async listen(): Promise<void> {
    try {
      await this.#client.connect()
      const { rows } = await this.#client.query<{ schema: string; pid: number }>(
        'SELECT current_schema() AS schema, pg_backend_pid() AS pid',
      )
      this.#pid = rows[0]?.pid ?? 0
      this.#channel = `upscale_hints_${rows[0]?.schema ?? ''}`
      await this.#client.query(`LISTEN ${this.#client.escapeIdentifier(this.#channel)}`)
    } catch (error) {
      this.#socket.destroy()
      throw error
    }
  }

  /** Calls `onPayload` for each notification of another replica. */
  receive(onPayload: (payload: string) => void): void {
    this.#client.on('notification', ({ processId, payload = '' }) => {
      const isProbe = this.#probeId !== '' && payload.endsWith(this.#probeId)
      if (processId !== this.#pid && !isProbe) onPayload(payload)
    })
  }

  /** Whether notifications of other connections arrive. Through a transaction pooler they do not. */
  async probe(): Promise<boolean> {
    const id = randomUUID()
    this.#probeId = id
    const arrived = Promise.withResolvers<true>()
    const onNotification = ({ payload }: pg.Notification) => {
      if (payload?.endsWith(id)) arrived.resolve(true)
    }
    this.#client.on('notification', onNotification)
    using _listener = { [Symbol.dispose]: () => this.#client.off('notification', onNotification) }
    // Sent on a second connection, because behind a pooler this one may still receive its own notifications.
    const socket = new Socket()
    const other = createClient(this.#url, socket)
    // An error after the answer has no effect.
    other.on('error', () => undefined)
    try {
      await other.connect()
      // Other replicas treat this as a hint about a task without watchers.
      await other.query('SELECT pg_notify($1, $2)', [this.#channel, `${Date.now()} ${id}`])
    } finally {
      // A server that does not answer does not end the connection either.
      const closing = setTimeout(() => socket.destroy(), ANSWER_TIMEOUT_MS)
      void other
        .end()
        .catch(ignoreLoss)
        .finally(() => clearTimeout(closing))
    }
    const timeout = pause(ANSWER_TIMEOUT_MS, false, { signal: this.lost, ref: false }).catch(() => false)
    return await Promise.race([arrived.promise, timeout])
  }

  /** Gives the connection up: a new one is opened. */
  abandon(reason: Error): void {
    this.#lost.abort(reason)
    this.#socket.destroy()
  }

  /**
   * Sends a payload to the other connections. Without one, checks that the server answers. False: the link is
   * lost.
   */
  async send(payload?: string): Promise<boolean> {
    try {
      if (payload === undefined) await this.#client.query('SELECT 1')
      else await this.#client.query('SELECT pg_notify($1, $2)', [this.#channel, payload])
      return true
    } catch (error) {
      this.#lost.abort(error)
      // After a timeout `pg` would continue to wait for the answer.
      this.#socket.destroy()
      return false
    }
  }

  /** Closes the connection, by force if the server does not answer. */
  async close(): Promise<void> {
    const timer = setTimeout(() => this.#socket.destroy(), ANSWER_TIMEOUT_MS)
    await this.#client.end().catch((error: unknown) => this.#lost.abort(error))
    clearTimeout(timer)
  }
}

function createClient(connectionString: string, socket = new Socket()): pg.Client {
  return new pg.Client({
    connectionString,
    connectionTimeoutMillis: ANSWER_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
    keepAlive: true,
    application_name: 'upscale-gateway hints',
    stream: () => socket,
  })
}
