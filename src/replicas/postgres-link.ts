import { randomUUID } from 'node:crypto'
import pg from 'pg'

const ANSWER_TIMEOUT_MS = 2_000

/** One connection that listens, until it is lost. */
export interface PostgresLink {
  /** Whether notifications from another connection arrive; behind a transaction pooler they do not. */
  hears(): Promise<boolean>
  /** Resolves when the connection has ended, for whatever reason. */
  readonly lost: Promise<void>
  /** Asks for a sign of life. A link without one is given up. */
  check(): Promise<void>
  /** Tells all who listen on the same channel; false where that failed, and the link is given up. */
  notify(payload: string): Promise<boolean>
  /** Ends the connection: in good order, if the server lets it. */
  close(): Promise<void>
}

/** Connects and listens on this schema's own channel. What is sent on the link itself is not heard on it. */
export async function openPostgresLink(
  url: string,
  onPayload: (payload: string) => void,
): Promise<PostgresLink> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: ANSWER_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
    keepAlive: true,
    application_name: 'upscale-gateway hints',
  })
  // Not in the types: the socket, and the server's process that serves this connection.
  const inner = client as unknown as { connection: { stream: { destroy(): void } }; processID: number | null }
  const lost = new Promise<void>((resolve) => {
    client.on('error', () => resolve())
    client.on('end', () => resolve())
  })
  const testId = randomUUID()
  const heard = Promise.withResolvers<true>()
  client.on('notification', ({ processId, payload = '' }) => {
    if (payload.endsWith(testId)) heard.resolve(true)
    else if (processId !== inner.processID) onPayload(payload)
  })
  const giveUp = () => inner.connection.stream.destroy()
  let channel: string
  try {
    await client.connect()
    const { rows } = await client.query<{ name: string }>('SELECT current_schema() AS name')
    channel = `upscale_hints_${rows[0]?.name ?? ''}`
    await client.query(`LISTEN ${client.escapeIdentifier(channel)}`)
  } catch (error) {
    giveUp()
    throw error
  }
  let turn = Promise.resolve(true)
  /** One thing after the other, as `pg` wants it. */
  const ask = (text: string, values: readonly string[] = []) => {
    turn = turn.then(() =>
      client.query(text, [...values]).then(
        () => true,
        () => {
          // `pg` itself would go on waiting for an answer that did not come in time.
          giveUp()
          return false
        },
      ),
    )
    return turn
  }
  return {
    lost,
    async hears() {
      // Other replicas take this as a hint about a task that has no watchers.
      await notifyOnce(url, channel, `${Date.now()} ${testId}`)
      using stack = new DisposableStack()
      const late = Promise.withResolvers<false>()
      stack.adopt(setTimeout(late.resolve, ANSWER_TIMEOUT_MS, false), clearTimeout)
      return await Promise.race([heard.promise, late.promise, lost.then(() => false)])
    },
    async check() {
      await ask('SELECT 1')
    },
    notify: (payload) => ask('SELECT pg_notify($1, $2)', [channel, payload]),
    async close() {
      const timer = setTimeout(giveUp, ANSWER_TIMEOUT_MS)
      await client.end().catch(() => undefined)
      clearTimeout(timer)
    },
  }
}

/** Notifies on a separate connection: even behind a transaction pooler, the listening one gets its own notifications. */
async function notifyOnce(url: string, channel: string, payload: string): Promise<void> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: ANSWER_TIMEOUT_MS,
    query_timeout: ANSWER_TIMEOUT_MS,
    application_name: 'upscale-gateway hints',
  })
  // An error after the answer changes nothing.
  client.on('error', () => undefined)
  await client.connect()
  await client.query('SELECT pg_notify($1, $2)', [channel, payload])
  await client.end()
}
