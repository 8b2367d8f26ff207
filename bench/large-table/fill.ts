/** Fills a database with tasks of 90 days, by SQL. */
import pg from 'pg'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { openPostgres } from '../../src/store/postgres.ts'

/** The owner of every third task; it also owns the tasks of callers without a token. */
export const LARGE_OWNER = 'anonymous'
const OWNERS = 1_000
const DAYS = 90
/** One in so many tasks is open. */
const OPEN_EVERY = 1_000
const BATCH = 250_000

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

/** Opens the database (and thereby migrates it) and closes it again. */
export async function createTables(url: string): Promise<void> {
  await using _stores = await openPostgres(url, createLocalHints(), { log: silent })
}

/** The age of task `n` of `count`: the oldest first, evenly over 90 days. */
const toCreatedAt = (count: number, now: number) =>
  `(${now} - ${DAYS} * 86400000::bigint + 3600000 + n * (${DAYS} * 86400000::bigint - 7200000) / ${count})`

const OWNER = `case when n % 3 = 0 then '${LARGE_OWNER}' else 'owner-' || n % ${OWNERS} end`
/** In the form and order of a UUID of version 7. */
const ID = `left(lpad(to_hex(at), 12, '0'), 8) || '-' || right(lpad(to_hex(at), 12, '0'), 4) || '-7' || left(md5(n::text), 3)
    || '-8' || substr(md5(n::text), 4, 3) || '-' || substr(md5(n::text), 7, 12)`
const EVENT = (status: string, source: string, note: string, offset: number) =>
  `jsonb_build_object('at', at + ${offset}, 'status', '${status}', 'source', '${source}', 'upstreamCode', null, 'note', '${note}')`
const HISTORY = [
  EVENT('SUBMITTED', 'SUBMIT', 'submitted', 0),
  EVENT('PROCESSING', 'SUBMIT', 'accepted by the upscale service', 400),
]

/** Columns and their values, by SQL expressions of `n`, `at`, `id` and `state`. */
const COLUMNS: Readonly<Record<string, string>> = {
  id: 'id',
  version: `case state when 'PROCESSING' then 2 else 3 end`,
  revision: `case state when 'PROCESSING' then 2 else 3 end`,
  owner: OWNER,
  status: 'state',
  sourceTaskId: `md5('source' || n)`,
  imageIndex: 'n % 4',
  images: `case state when 'SUCCEEDED' then jsonb_build_array(jsonb_build_object('url', 'https://example.com/results/' || md5(n::text)
    || md5(id) || '.png', 'expiresAt', at + 86400000, 'facts', null, 'copyState', 'OFF'))::text end`,
  failure: `case state when 'FAILED' then '{"code":"UPSTREAM_REJECTED","upstreamCode":500,"correlationId":"' || md5(n::text) || '"}' end`,
  failedBy: `case state when 'FAILED' then 'UPSTREAM' end`,
  engine: `'kie-midjourney'`,
  creditsConsumed: `case when n % 2 = 0 then 1.5 end`,
  upstreamTaskId: `md5('upstream' || n)`,
  callbackTokenHash: `md5('a' || n) || left(md5('b' || n), 11)`,
  pictureDigest: `md5('c' || n) || left(md5('d' || n), 11)`,
  imagesExpireAt: `case state when 'SUCCEEDED' then at + 86400000 end`,
  createdAt: 'at',
  updatedAt: `case state when 'PROCESSING' then at + 400 else at + 30000 end`,
  settledAt: `case state when 'PROCESSING' then null else at + 30000 end`,
  deadlineAt: `case state when 'PROCESSING' then until else at + 1800000 end`,
  dueAt: `case state when 'PROCESSING' then until - 1 - n % 3600000 end`,
  scheduledAt: 'at',
  sentAt: 'at',
  polls: 'n % 2',
  notFoundCount: '0',
  history: `(jsonb_build_array(${HISTORY.join()}) || case state when 'PROCESSING' then '[]' else
    jsonb_build_array(jsonb_build_object('at', at + 30000, 'status', state, 'source', 'CALLBACK', 'upstreamCode', null, 'note', 'done')) end)::text`,
}

const STATE = `case when n % ${OPEN_EVERY} = 1 then 'PROCESSING' when n % 32 = 2 then 'FAILED' else 'SUCCEEDED' end`

/**
 * Fills an empty database with this many tasks: one in 1,000 is open and due within the next hours, a third
 * belongs to one owner, a tenth has a delivery, those of the last day have a key. Builds the indexes
 * afterwards, and collects statistics.
 */
export async function fill(url: string, count: number): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    await client.query(
      `set synchronous_commit = off; set session_replication_role = replica; set maintenance_work_mem = '512MB'`,
    )
    const { rows: indexes } = await client.query<{ name: string; definition: string }>(
      `select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition from pg_index
       where indrelid = 'task'::regclass and not indisprimary`,
    )
    for (const { name } of indexes) await client.query(`drop index ${name}`)
    const now = Date.now()
    for (let from = 1; from <= count; from += BATCH) {
      await client.query(toTaskInsert(count, from, Math.min(count, from + BATCH - 1), now))
      console.log(`  ${Math.min(count, from + BATCH - 1)} tasks`)
    }
    for (const { definition } of indexes) await client.query(definition)
    await fillOthers(client, now)
    await client.query('vacuum (analyze)')
    await client.query('checkpoint')
  } finally {
    await client.end()
  }
}

function toTaskInsert(count: number, from: number, to: number, now: number): string {
  const columns = Object.keys(COLUMNS).map((column) => `"${column}"`)
  return `insert into task (${columns.join()})
    select ${Object.values(COLUMNS).join()} from (
      select *, ${ID} as id, ${now} + 10800000 as until from (
        select n, ${toCreatedAt(count, now)} as at, ${STATE} as state from generate_series(${from}, ${to}) n) numbered) task`
}

async function fillOthers(client: pg.Client, now: number): Promise<void> {
  await client.query(`insert into delivery (id, "taskId", owner, url, host, version, state, attempts, failures, "dueSince",
      "lastStatusCode", "dueAt", "scheduledAt")
    select id || '-0', id, owner, 'https://customer.example/hooks/' || id, 'customer.example',
      case when "settledAt" is null then 0 else version end, case when "settledAt" is null then 'PENDING' else 'DELIVERED' end,
      case when "settledAt" is null then 0 else 1 end, 0, "settledAt", case when "settledAt" is null then null else 200 end, null, "createdAt"
    from task where hashtext(id) % 10 = 0`)
  await client.query(`insert into "idempotencyKey" (claim, "taskId", until)
    select md5('key' || id), id, "createdAt" + 86400000 from task where "createdAt" > ${now - 86_400_000}`)
  await client.query(`insert into usage (day, owner, engine, tasks, credits)
    select to_char(to_timestamp(at / 1000) at time zone 'utc', 'YYYY-MM-DD') as day, owner, engine, count(*), sum("creditsConsumed")
    from (select "settledAt" as at, owner, engine, "creditsConsumed" from task where "creditsConsumed" is not null and "settledAt" is not null) spent
    group by 1, 2, 3`)
}
