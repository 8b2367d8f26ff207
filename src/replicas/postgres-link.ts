import { randomUUID } from 'node:crypto'
import { Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'

const ANSWER_TIMEOUT_MS = 2_000

/** One connection that listens on the channel of its schema, until it is lost. It ignores its own notifications. */
export class PostgresLink {
  readonly #socket = new Socket()
  readonly #client: pg.Client
  readonly #url: string
  readonly #lost = new AbortController()
  readonly #probeId = randomUUID()
  readonly #probed = Promise.withResolvers<true>()
  #channel = ''
  #lastQuery = Promise.resolve(true)

  /** Connects and listens. `onPayload` gets the notifications of other connections. */
  static async open(url: string, onPayload: (payload: string) => void): Promise<PostgresLink> {
    const link = new PostgresLink(url)
    try {
      await link.#listen(onPayload)
      return link
    } catch (error) {
      link.#socket.destroy()
      throw error
    }
  }

  private constructor(url: string) {
    this.#url = url
    this.#client = createClient(url, this.#socket)
    this.#client.on('error', (error) => this.#lost.abort(error))
    this.#client.on('end', () => this.#lost.abort(new Error('The server closed the connection')))
  }

  /** Aborted once the connection has ended, with the reason. */
  get lost(): AbortSignal {
    return this.#lost.signal
  }

  async #listen(onPayload: (payload: string) => void): Promise<void> {
    await this.#client.connect()
    const { rows } = await this.#client.query<{ schema: string; pid: number }>(
      'SELECT current_schema() AS schema, pg_backend_pid() AS pid',
    )
    this.#channel = `upscale_hints_${rows[0]?.schema ?? ''}`
    this.#client.on('notification', ({ processId, payload = '' }) => {
      if (payload.endsWith(this.#probeId)) this.#probed.resolve(true)
      else if (processId !== rows[0]?.pid) onPayload(payload)
    })
    await this.#client.query(`LISTEN ${this.#client.escapeIdentifier(this.#channel)}`)
  }

  /** Whether notifications of other connections arrive. Through a transaction pooler they do not. */
  async probe(): Promise<boolean> {
    // Sent on a connection of its own: behind a pooler, a connection may still receive its own notifications.
    // Other replicas take the payload as a hint about a task that has no watchers.
    await notifyOnce(this.#url, this.#channel, `${Date.now()} ${this.#probeId}`)
    const timeout = pause(ANSWER_TIMEOUT_MS, false, { signal: this.lost, ref: false }).catch(() => false)
    return await Promise.race([this.#probed.promise, timeout])
  }

  /** Checks that the server answers; if it does not, the link is lost. */
  async check(): Promise<void> {
    await this.#query('SELECT 1')
  }

  /** Notifies the other connections on this channel. False: that failed, and the link is lost. */
  notify(payload: string): Promise<boolean> {
    return this.#query('SELECT pg_notify($1, $2)', [this.#channel, payload])
  }

  /** Closes the connection, by force if the server does not answer. */
  async close(): Promise<void> {
    const timer = setTimeout(() => this.#socket.destroy(), ANSWER_TIMEOUT_MS)
    await this.#client.end().catch((error: unknown) => this.#lost.abort(error))
    clearTimeout(timer)
  }

  /** Runs one query at a time, as `pg` requires. */
  #query(text: string, values: string[] = []): Promise<boolean> {
    this.#lastQuery = this.#lastQuery.then(async () => {
      try {
        await this.#client.query(text, values)
        return true
      } catch (error) {
        this.#lost.abort(error)
        // After a timeout `pg` itself would continue to wait for the answer.
        this.#socket.destroy()
        return false
      }
    })
    return this.#lastQuery
  }
}

function createClient(url: string, socket?: Socket): pg.Client {
  return new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: ANSWER_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
    keepAlive: true,
    application_name: 'upscale-gateway hints',
    ...(socket && { stream: () => socket }),
  })
}

async function notifyOnce(url: string, channel: string, payload: string): Promise<void> {
  const client = createClient(url)
  // An error after the answer changes nothing.
  client.on('error', () => undefined)
  await client.connect()
  await client.query('SELECT pg_notify($1, $2)', [channel, payload])
  await client.end()
}
