import { setTimeout as pause } from 'node:timers/promises'
import type { Log, TaskHints } from '../tasks/ports.ts'
import { createLocalHints } from './local-hints.ts'
import { openPostgresLink, type PostgresLink } from './postgres-link.ts'

export interface PostgresHintsOptions {
  readonly url: string
  readonly log: Log
  /** Told how old a hint of another replica was when it came, in milliseconds by both machines' clocks. */
  readonly onHint?: (lagMs: number) => void
  /** How often all watched tasks are re-read if notifications do not arrive; default 2 s. */
  readonly pollMs?: number
}

/** Hints are sent at most this often; what comes up meanwhile goes together. */
const SEND_EVERY_MS = 10
/** PostgreSQL takes payloads of less than 8,000 bytes. */
const MAX_PAYLOAD_BYTES = 7_900
/** While there is no connection, so many ids are kept for the next one. */
const MAX_KEPT = 10_000
const HEARTBEAT_MS = 5_000
const MIN_BACK_OFF_MS = 100
const MAX_BACK_OFF_MS = 2_000
const POLL_MS = 2_000

const POOLED =
  'hints of other replicas do not arrive over LISTEN: the connection leads through a transaction pooler (PgBouncer, for ' +
  'example). Watched tasks are read again every few seconds instead. Set DATABASE_LISTEN_URL to a direct connection to ' +
  'the database, or REDIS_URL'

/**
 * Hints over LISTEN and NOTIFY, on a connection of their own: a NOTIFY within every commit would take a lock of
 * the whole database. All replicas receive all hints. A lost connection is replaced, and then every listener is woken,
 * because hints may have been missed. Until then each watcher re-reads at every re-assertion.
 */
export async function openPostgresHints(options: PostgresHintsOptions): Promise<TaskHints & AsyncDisposable> {
  const { url, log, onHint, pollMs = POLL_MS } = options
  const local = createLocalHints()
  const unsent = new Set<string>()
  const ended = new AbortController()
  const isEnded = () => ended.signal.aborted
  const rest = (ms: number) => pause(ms, undefined, { signal: ended.signal }).catch(() => undefined)
  let link: PostgresLink | undefined
  /** What is being sent, or waits for its turn; nothing is begun beside it. */
  let sending: Promise<void> | undefined

  const connect = async (): Promise<PostgresLink> => {
    const opened = await openPostgresLink(url, (payload) => {
      const [sentAt = '', ...ids] = payload.split(' ')
      onHint?.(Date.now() - Number(sentAt))
      for (const id of ids) local.announce(id)
    })
    link = opened
    return opened
  }

  /** Until the link is lost. A server that gives no sign of life counts as gone. */
  const follow = async (current: PostgresLink): Promise<void> => {
    const over = current.lost.then(() => true)
    while (!isEnded() && !(await Promise.race([over, rest(HEARTBEAT_MS).then(() => false)])))
      if (!isEnded()) await Promise.race([over, current.check()])
  }

  const toPayload = (): string => {
    let payload = String(Date.now())
    for (const id of unsent) {
      if (payload.length + id.length >= MAX_PAYLOAD_BYTES) break
      payload += ` ${id}`
      unsent.delete(id)
    }
    return payload
  }
  const sendAll = async () => {
    // What is lost with the link is not missed: the others wake everyone, or look for themselves.
    while (unsent.size > 0 && link !== undefined) if (!(await link.notify(toPayload()))) return
  }
  const send = () => {
    sending ??= rest(SEND_EVERY_MS)
      .then(sendAll)
      .finally(() => {
        sending = undefined
        // What came up while the last was on its way.
        if (unsent.size > 0 && link !== undefined && !isEnded()) send()
      })
  }

  const stayConnected = async (first: PostgresLink): Promise<void> => {
    let current = first
    while (!isEnded()) {
      await follow(current)
      await sending
      link = undefined
      await current.close()
      for (let backOff = MIN_BACK_OFF_MS; !isEnded(); backOff *= 2) {
        try {
          current = await connect()
          log.info({}, 'the connection for hints of other replicas is open again')
          local.announceAll()
          send()
          break
        } catch (error) {
          log.warn({ err: error }, 'no connection for hints of other replicas; trying again')
          await rest(Math.min(backOff, MAX_BACK_OFF_MS) * (0.5 + Math.random() / 2))
        }
      }
    }
    await link?.close()
  }

  const first = await connect()
  const hears = await first.hears().catch(async (error: unknown) => {
    await first.close()
    throw error
  })
  const polling = hears ? undefined : setInterval(() => local.announceAll(), pollMs)
  if (!hears) log.warn({ everyMs: pollMs }, POOLED)
  const running = stayConnected(first)
  return {
    listen: (taskId, wake) => local.listen(taskId, wake),
    announce(taskId, state) {
      local.announce(taskId, state)
      if (unsent.size >= MAX_KEPT) return
      unsent.add(taskId)
      if (link !== undefined) send()
    },
    async [Symbol.asyncDispose]() {
      ended.abort()
      clearInterval(polling)
      await running
    },
  }
}
