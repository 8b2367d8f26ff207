/**
 * The service, bundled with the hooks of the bench. The hooks write tasks into its database over their own
 * connection. The service learns of new states by hints, as always: those of its own process carry the state,
 * those of another replica do not.
 */
import { randomBytes } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import pg from 'pg'
import { parseSettings } from '../src/settings.ts'
import { createLocalHints } from '../src/replicas/local-hints.ts'
import { openPostgresHints } from '../src/replicas/postgres-hints.ts'
import { createLogger } from '../src/log.ts'
import { startService } from '../src/service.ts'
import { toRow } from '../src/store/schema.ts'
import { systemSecrets } from '../src/system.ts'

const settings = parseSettings(process.env)
const hints = createLocalHints()
const { database } = settings
// Opened before the service starts, because it provides the hints.
const postgres = database.kind === 'sqlite' ? undefined : await onPostgres(database.url)
const overrides = { hints, sharedHints: postgres?.sharedHints }
const service = await startService(settings, createLogger(settings.logLevel), overrides)
process.once('SIGTERM', () => void service[Symbol.asyncDispose]().then(() => process.exit()))

const DAY_MS = 86_400_000

function newTask(settled) {
  const now = Date.now()
  const token = systemSecrets.newToken()
  const id = systemSecrets.newId()
  const images = [
    { url: 'https://example.com/result.png', expiresAt: now + DAY_MS, facts: null, copyState: 'OFF' },
  ]
  const event = {
    at: now,
    status: 'PROCESSING',
    source: 'SUBMIT',
    upstreamCode: null,
    note: 'accepted by the upscale service',
  }
  const task = {
    id,
    version: settled ? 3 : 2,
    revision: settled ? 3 : 2,
    owner: 'anonymous',
    correlationId: id,
    traceparent: null,
    status: settled ? 'SUCCEEDED' : 'PROCESSING',
    sourceTaskId: id,
    imageIndex: 0,
    waterMark: null,
    images: settled ? images : null,
    sourceImage: null,
    resultDueAt: null,
    resultAttempts: 0,
    failure: null,
    failedBy: null,
    engine: 'kie-midjourney',
    requestedEngine: null,
    creditsConsumed: null,
    upstreamTaskId: `upstream-${id}`,
    callbackTokenHash: systemSecrets.digest(token),
    pictureDigest: randomBytes(32).toString('base64url'),
    imagesExpireAt: settled ? now + DAY_MS : null,
    answerBy: null,
    queueRank: null,
    queueDueAt: null,
    queueAttempts: 0,
    queueRefusal: null,
    queueAhead: null,
    sentAt: null,
    estimatedDoneAt: null,
    createdAt: now,
    updatedAt: now,
    settledAt: settled ? now : null,
    deadlineAt: now + DAY_MS,
    dueAt: settled ? null : now + DAY_MS,
    polls: 0,
    notFoundCount: 0,
    notFoundSince: null,
    history: [event],
  }
  return {
    task,
    row: toRow(task),
    waiting: { id, callBackPath: `/callbacks/upscale/${id}/${token}`, upstreamTaskId: `upstream-${id}` },
  }
}

globalThis.bench = postgres ?? onSqlite(database.file)

function onSqlite(file) {
  const db = new DatabaseSync(file, { timeout: 10_000 })
  const known = new Map()
  return {
    tasks(count, settled = false) {
      const made = Array.from({ length: count }, () => newTask(settled))
      const columns = Object.keys(made[0].row)
      const insert = db.prepare(`insert into task (${columns}) values (${columns.map(() => '?')})`)
      db.exec('begin immediate')
      for (const { row } of made) insert.run(...Object.values(row))
      db.exec('commit')
      if (!settled) for (const { task } of made) known.set(task.id, task)
      return made.map(({ waiting }) => waiting)
    },
    publish(ids) {
      db.prepare('update task set version = version + 1 where id in (select value from json_each(?))').run(
        JSON.stringify(ids),
      )
      for (const id of ids) {
        const task = known.get(id)
        known.set(id, { ...task, version: task.version + 1 })
        hints.announce(id, known.get(id))
      }
    },
  }
}

/** As many as one statement of the service updates at most. */
const GROUP = 100

async function onPostgres(url) {
  // As many connections as the service uses for batches.
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  const log = createLogger('silent')
  // The hints of the service: an announcement carries the committed state, as on SQLite.
  const sharedHints = await openPostgresHints({ url, log })
  // With BENCH_COMMITS=elsewhere, hints of another replica: each watcher then reads the state.
  const others = process.env.BENCH_COMMITS === 'elsewhere' ? await openPostgresHints({ url, log }) : undefined
  const known = new Map()
  return {
    sharedHints,
    async tasks(count, settled = false) {
      const made = Array.from({ length: count }, () => newTask(settled))
      for (let at = 0; at < count; at += 1_000) {
        const rows = made.slice(at, at + 1_000).map(({ row }) => row)
        await pool.query('insert into task select * from jsonb_populate_recordset(null::task, $1)', [
          JSON.stringify(rows),
        ])
      }
      if (!settled) for (const { task } of made) known.set(task.id, task)
      return made.map(({ waiting }) => waiting)
    },
    async publish(ids) {
      // Like the service, which announces one group of updates while the database writes the next.
      const groups = Array.from({ length: Math.ceil(ids.length / GROUP) }, (_, n) =>
        ids.slice(n * GROUP, (n + 1) * GROUP),
      )
      await Promise.all(
        groups.map(async (group) => {
          await pool.query('update task set version = version + 1 where id = any($1)', [group])
          for (const id of group) {
            const task = known.get(id)
            known.set(id, { ...task, version: task.version + 1 })
            if (others === undefined) sharedHints.announce(id, known.get(id))
            else others.announce(id)
          }
        }),
      )
    },
  }
}
