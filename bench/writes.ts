/**
 * What a task costs PostgreSQL, from its submit to its settlement, one task after another: `npm run
 * bench:writes [-- WORD [TASKS]]`. It starts a PostgreSQL of its own. Each figure is that of a run with
 * tasks, less that of a run of the same duration without, so that the work of the service that does not
 * depend on tasks is not counted. Hints, rate limits, claims, reads are counted.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import sharp from 'sharp'
import { json, startScriptedUpstream } from '../test/support/scripted-upstream.ts'
import { startPostgres, startRedis } from '../test/support/servers.ts'
import { run, startReplica } from './replica.ts'

const TASKS = Number(process.argv[3] ?? 100)
/** A replica that receives nothing from others for 30 s sends no hints. */
const ALONE_AFTER_MS = 31_000

const word = process.argv[2] ?? ''
const folder = await mkdtemp(join(tmpdir(), 'bench-writes-'))
await using opened = new AsyncDisposableStack()
opened.defer(() => rm(folder, { recursive: true }))
const preload = ['-c', 'shared_preload_libraries=pg_stat_statements', '-c', 'autovacuum=off']
const postgres = opened.use(await startPostgres(undefined, ...preload))
const redis = opened.use(await startRedis())
const upstream = opened.use(await startScriptedUpstream())
/** Takes deliveries, and serves pictures. */
const receiver = opened.use(await startScriptedUpstream())
const picture = await sharp({ create: { width: 8, height: 8, channels: 3, background: '#876' } })
  .png()
  .toBuffer()
receiver.onLookup = (response) => response.setHeader('content-type', 'image/png').end(picture)
const callBackUrls = new Map<string, string>()
upstream.onCreate = (response, request) => {
  const { callBackUrl } = JSON.parse(request.body) as { callBackUrl: string }
  const id = callBackUrl.split('/').at(-2) ?? ''
  callBackUrls.set(id, callBackUrl)
  json(200, { code: 200, data: { taskId: `upstream-${id}` } })(response, request)
}
const admin = opened.use(await connectTo(postgres.url))
await admin.query('create extension pg_stat_statements')

async function connectTo(connectionString: string) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

interface Case {
  readonly name: string
  readonly settings?: Record<string, string>
  /** Further fields of the input. */
  readonly input?: string
  readonly delivers?: boolean
  readonly inspects?: boolean
  /** Runs a second replica, which gets no requests. */
  readonly isBeside?: boolean
}

const CASES: readonly Case[] = [
  { name: 'plain' },
  { name: 'plain, with a second replica', isBeside: true },
  { name: 'plain, with Redis', settings: { REDIS_URL: redis.url } },
  { name: 'with an idempotency key', input: 'idempotencyKey: "KEY"' },
  { name: 'with a delivery', input: `callBackUrl: "${receiver.url}/KEY"`, delivers: true },
  {
    name: 'with inspection',
    settings: { RESULT_INSPECT_MS: '5000', RESULT_ALLOW_HOSTS: '127.0.0.1' },
    inspects: true,
  },
  {
    name: 'with inspection and copy',
    settings: {
      RESULT_INSPECT_MS: '5000',
      RESULT_ALLOW_HOSTS: '127.0.0.1',
      RESULT_STORE: `file:${join(folder, 'copies')}`,
    },
    inspects: true,
  },
]

/**
 * Submits a task and calls back about it; resolves once the callback is answered, and the rest of its work
 * has begun.
 */
async function settleTask(url: string, key: string, { input = '', delivers, inspects }: Case): Promise<void> {
  const before = receiver.received.length
  const fields = `taskId: "${key}", imageIndex: 0 ${input.replace('KEY', key)}`
  const query = `mutation { upscaleImage(input: { ${fields} }) { task { id } } }`
  const { data } = (await run(url, query)) as { data: { upscaleImage: { task: { id: string } } } }
  const { id } = data.upscaleImage.task
  const result = `${receiver.url}/${id}.png`
  const body = JSON.stringify({ code: 200, data: { taskId: `upstream-${id}`, resultUrls: [result] } })
  const { status } = await fetch(callBackUrls.get(id) ?? '', { method: 'POST', body })
  if (status !== 200) throw new Error(`A callback was answered with ${status}`)
  const expected = before + (delivers ? 1 : 0) + (inspects ? 1 : 0)
  while (receiver.received.length < expected) await pause(1)
  // The outcome of a delivery or an inspection is stored after its request; hints are sent 10 ms after their
  // commit.
  await pause(delivers || inspects ? 100 : 30)
}

type Figures = Readonly<Record<string, number>>

const TABLES = ['task', 'delivery', 'idempotencyKey', 'rate_limit', 'copy', 'copyUse']

/**
 * All counts of the database so far. Call it when no replica is connected: connections report some counts
 * when they end.
 */
async function readFigures(database: pg.Client, name: string): Promise<Figures> {
  const { rows: totals } = await admin.query<Record<string, string>>(
    `select xact_commit as commits, pg_current_wal_insert_lsn() - '0/0' as wal,
      (select sum(calls) from pg_stat_statements s where s.dbid = d.datid) as statements
     from pg_stat_database d where datname = $1`,
    [name],
  )
  const { rows: tables } = await database.query<Record<string, string>>(
    'select relname, n_tup_ins as inserted, n_tup_upd as updated, n_tup_hot_upd as hot, n_tup_del as deleted from pg_stat_user_tables',
  )
  const { rows: calls } = await admin.query<Record<string, string>>(
    `select left(regexp_replace(query, '\\s+', ' ', 'g'), 100) as query, sum(calls) as calls
     from pg_stat_statements s, pg_database d where d.oid = s.dbid and datname = $1 group by 1`,
    [name],
  )
  // One number per transaction that writes, in all databases: nothing else runs here.
  const { rows: xids } = await admin.query<Record<string, string>>(
    'select pg_snapshot_xmax(pg_current_snapshot()) as writes',
  )
  return Object.fromEntries([
    ...Object.entries({ ...totals[0], ...xids[0] }).map(([key, value]) => [key, Number(value)] as const),
    ...tables.flatMap(({ relname, ...counts }) =>
      Object.entries(counts).map(([key, count]) => [`${relname} ${key}`, Number(count)] as const),
    ),
    ...calls.map(({ query, calls }) => [`> ${query}`, Number(calls)] as const),
  ])
}

function subtract(one: Figures, other: Figures): Figures {
  return Object.fromEntries(Object.entries(one).map(([key, value]) => [key, value - (other[key] ?? 0)]))
}

async function measure(each: Case): Promise<void> {
  const name = `writes_${CASES.indexOf(each)}`
  await admin.query(`create database ${name}`)
  const url = new URL(postgres.url)
  url.pathname = name
  await using database = await connectTo(url.href)
  const settings = {
    DATABASE_URL: url.href,
    UPSTREAM_URL: upstream.url,
    OWNER_RATE_LIMIT: '1000000/60s',
    UPSTREAM_RATE_LIMIT: '1000000/60s',
    CALLBACK_ALLOW_HOSTS: '127.0.0.1',
    RESULT_INSPECT_MS: '0',
    RESULT_STORE: 'off',
    LOG_LEVEL: 'warn',
    ...each.settings,
  }
  const duringRun = async (work: (url: string) => Promise<void>) => {
    const before = await readFigures(database, name)
    {
      await using replica = await startReplica(settings)
      await using _beside = each.isBeside ? await startReplica(settings) : undefined
      await work(replica.url)
    }
    // The last connections of the replica report their counts.
    await pause(500)
    return subtract(await readFigures(database, name), before)
  }
  await duringRun(() => pause(1_000))
  let tookMs = 0
  const isAlone = !each.isBeside && each.settings?.REDIS_URL === undefined
  const busy = await duringRun(async (url) => {
    const startedAt = performance.now()
    if (isAlone) await pause(ALONE_AFTER_MS)
    for (let n = 0; n < TASKS; n += 1) await settleTask(url, `task-${n}`, each)
    await pause(1_000)
    tookMs = performance.now() - startedAt
  })
  const idle = await duringRun(() => pause(tookMs))
  print(each.name, subtract(busy, idle))
}

function print(name: string, figures: Figures): void {
  const each = (key: string) => ((figures[key] ?? 0) / TASKS).toFixed(2)
  const { wal = 0 } = figures
  console.log(`\n## ${name}: per task`)
  console.log(
    `${each('commits')} commits, ${each('writes')} of them write; ${each('statements')} statements; ${(wal / TASKS / 1_024).toFixed(1)} KiB of WAL`,
  )
  for (const table of TABLES) {
    const [inserted, updated, hot] = ['inserted', 'updated', 'hot'].map((key) => each(`${table} ${key}`))
    if (inserted !== '0.00' || updated !== '0.00')
      console.log(`  ${table}: ${inserted} inserted, ${updated} updated, ${hot} of them HOT`)
  }
  const statements = Object.entries(figures).filter(
    ([key, calls]) => key.startsWith('>') && calls >= TASKS / 10,
  )
  for (const [query] of statements.sort(([, one], [, other]) => other - one))
    console.log(`  ${each(query)} ${query}`)
}

for (const each of CASES) if (each.name.includes(word)) await measure(each)
