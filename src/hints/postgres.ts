import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import type { Log, TaskHints } from '../tasks/ports.ts'
import { createLocalHints } from './local.ts'

export interface PostgresHintsOptions {
  readonly url: string
  readonly log: Log
  /** Told how old a hint of another replica was when it came, in milliseconds by both machines' clocks. */
  readonly onHint?: (lagMs: number) => void
}

/** Hints are sent at most this often; what comes up meanwhile goes together. */
const SEND_EVERY_MS = 10
/** PostgreSQL takes payloads of less than 8,000 bytes. */
const MAX_PAYLOAD_BYTES = 7_900
/** While there is no connection, so many ids are kept for the next one. */
const MAX_KEPT = 10_000
const HEARTBEAT_MS = 5_000
const ANSWER_TIMEOUT_MS = 2_000
const MIN_BACK_OFF_MS = 100
const MAX_BACK_OFF_MS = 2_000

/**
 * Hints over LISTEN and NOTIFY, on a connection of their own: a NOTIFY within every commit would take a lock of
 * the whole database. All replicas hear all hints. When the connection is lost it is made anew, and then everyone
 * is woken, since nobody knows what was missed; until then each watcher looks for itself at every re-assertion.
 */
export async function openPostgresHints(options: PostgresHintsOptions): Promise<TaskHints & AsyncDisposable> {
  const { url, log, onHint } = options
  const local = createLocalHints()
  const unsent = new Set<string>()
  const ended = new AbortController()
  let client: pg.Client | undefined
  let channel = ''
  let sending: NodeJS.Timeout | undefined
  let turn: Promise<unknown> = Promise.resolve()
  /** One statement after the other, as `pg` wants it; what fails is not missed. */
  const ask = (of: pg.Client, text: string, values: string[] = []): Promise<unknown> => {
    const answer = turn.then(() => of.query(text, values))
    turn = answer.catch(() => undefined)
    return answer
  }

  /** Connects and listens; `lost` resolves when the connection has ended. */
  const connect = async (): Promise<{ readonly lost: Promise<void> }> => {
    const next = new pg.Client({
      connectionString: url,
      connectionTimeoutMillis: ANSWER_TIMEOUT_MS,
      query_timeout: ANSWER_TIMEOUT_MS,
      keepAlive: true,
      application_name: 'upscale-gateway hints',
    })
    const lost = new Promise<void>((resolve) => {
      next.on('error', () => resolve())
      next.on('end', () => resolve())
    })
    next.on('notification', ({ processId, payload = '' }) => {
      // Our own come back to us, too.
      if (processId === (next as { processID?: number }).processID) return
      const [sentAt = '', ...ids] = payload.split(' ')
      onHint?.(Date.now() - Number(sentAt))
      for (const id of ids) local.announce(id)
    })
    try {
      await next.connect()
      const { rows } = await next.query<{ name: string }>('SELECT current_schema() AS name')
      channel = `upscale_hints_${rows[0]?.name ?? ''}`
      await next.query(`LISTEN ${next.escapeIdentifier(channel)}`)
    } catch (error) {
      next.end().catch(() => undefined)
      throw error
    }
    client = next
    return { lost }
  }

  /** Asks the server for a sign of life now and then; a connection without one counts as lost. */
  const heartbeat = async (of: pg.Client): Promise<void> => {
    for (;;) {
      await pause(HEARTBEAT_MS, undefined, { signal: ended.signal })
      if (client !== of) return
      await ask(of, 'SELECT 1')
    }
  }

  const run = async (lost: Promise<void>): Promise<void> => {
    const current = client
    if (current === undefined) return
    await Promise.race([lost, heartbeat(current).catch(() => undefined)])
    client = undefined
    current.end().catch(() => undefined)
  }

  const send = () => {
    sending = undefined
    if (client === undefined) return
    while (unsent.size > 0) {
      let payload = String(Date.now())
      for (const id of unsent) {
        if (payload.length + id.length >= MAX_PAYLOAD_BYTES) break
        payload += ` ${id}`
        unsent.delete(id)
      }
      // Lost with the connection: the others wake everyone, or look for themselves.
      ask(client, 'SELECT pg_notify($1, $2)', [channel, payload]).catch(() => undefined)
    }
  }

  const isEnded = () => ended.signal.aborted
  const stayConnected = async (first: { readonly lost: Promise<void> }): Promise<void> => {
    let { lost } = first
    while (!isEnded()) {
      await run(lost)
      for (let backOff = MIN_BACK_OFF_MS; !isEnded(); backOff *= 2) {
        try {
          ;({ lost } = await connect())
          log.info({}, 'hints of other replicas are heard again')
          local.announceAll()
          send()
          break
        } catch (error) {
          log.warn({ err: error }, 'hints of other replicas are not heard at the moment')
          await pause(Math.min(backOff, MAX_BACK_OFF_MS) * (0.5 + Math.random() / 2), undefined, {
            signal: ended.signal,
          }).catch(() => undefined)
        }
      }
    }
  }

  const running = stayConnected(await connect())
  return {
    listen: (taskId, wake) => local.listen(taskId, wake),
    announce(taskId) {
      local.announce(taskId)
      if (unsent.size >= MAX_KEPT) return
      unsent.add(taskId)
      sending ??= setTimeout(send, SEND_EVERY_MS)
    },
    async [Symbol.asyncDispose]() {
      clearTimeout(sending)
      send()
      await turn
      const last = client
      ended.abort()
      await last?.end().catch(() => undefined)
      await running
    },
  }
}
