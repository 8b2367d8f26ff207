import { describe, expect, test } from '@jest/globals'
import { Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { toChangesQuery } from '../../src/store/task-changes.ts'
import { toCountQuery } from '../../src/store/task-counts.ts'
import { toListQuery } from '../../src/store/tasks.ts'
import type { Database } from '../../src/store/schema.ts'
import type { Stores } from '../../src/store/sql.ts'
import { newTask } from '../support/new-task.ts'
import { describeEngineMigration } from '../contract/engine-migration.ts'
import { describeErasure } from '../contract/erasure.ts'
import { describeOutbox } from '../contract/outbox.ts'
import { describeQueueStore, readQueueStatements } from '../contract/queue-store.ts'
import { describeResultJobs } from '../contract/result-jobs.ts'
import { describeTaskStore } from '../contract/task-store.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import { openPlainSql } from '../support/plain-sql.ts'
import { openTestSchema } from '../support/postgres.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

const setUp = async () => {
  const schema = await openTestSchema()
  return Object.assign(schema, {
    open: (hints: TaskHints) => openPostgres(schema.url, hints, { log: silent }),
    async run(statements: readonly string[]) {
      const client = new pg.Client({ connectionString: schema.url })
      await client.connect()
      for (const statement of statements) await client.query(statement)
      await client.end()
    },
  })
}
/** The same row so many times over, as one statement: ids `one-1`, `one-2`, … */
async function multiply(
  url: string,
  table: 'task' | 'delivery',
  count: number,
  changes: Record<string, string> = {},
): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const { rows } = await client.query<{ name: string }>(
    `SELECT quote_ident(column_name) AS name FROM information_schema.columns
     WHERE table_schema = current_schema() AND table_name = $1`,
    [table],
  )
  const varied: Record<string, string> = { id: `'one-' || n`, url: `url || n`, ...changes }
  const columns = rows.map(({ name }) => name)
  const values = columns.map((name) => varied[name] ?? name)
  await client.query(
    `INSERT INTO ${table} (${columns.join()}) SELECT ${values.join()} FROM ${table}, generate_series(1, ${count}) n`,
  )
  await client.query(`ANALYZE ${table}`)
  await client.end()
}

test('eight replicas that start at once on an empty database make one schema, and all work', async () => {
  await using schema = await setUp()
  await using opened = new AsyncDisposableStack()
  const replicas = await Promise.all(
    Array.from({ length: 8 }, async () => opened.use(await schema.open(createLocalHints()))),
  )
  const task = newTask()
  await replicas[0]?.store.insert(task, {})
  for (const { store } of replicas) expect(await store.read(task.id)).toEqual(task)
})

describe('10,000 claims, raced by two replicas', () => {
  const CLAIMS = 10_000

  /** Claims from both until nothing is left; how many there were, and of how many different ones. */
  async function race(claim: (replica: Stores) => Promise<readonly { id: string }[]>, replicas: Stores[]) {
    const ids: string[] = []
    const drain = async (replica: Stores) => {
      for (;;) {
        const claimed = await claim(replica)
        if (claimed.length === 0) return
        ids.push(...claimed.map(({ id }) => id))
      }
    }
    await Promise.all([...replicas, ...replicas, ...replicas, ...replicas].map(drain))
    return [ids.length, new Set(ids).size]
  }

  test('give each poll to one of them', async () => {
    await using schema = await setUp()
    await using one = await schema.open(createLocalHints())
    await using two = await schema.open(createLocalHints())
    await one.store.insert(newTask({ id: 'one', dueAt: 1 }), {})
    await multiply(schema.url, 'task', CLAIMS - 1)
    const raced = await race(({ store }) => store.claimDue(10, 1_000_000, 5), [one, two])
    expect(raced).toEqual([CLAIMS, CLAIMS])
  })

  test('give each delivery to one of them', async () => {
    await using schema = await setUp()
    await using one = await schema.open(createLocalHints())
    await using two = await schema.open(createLocalHints())
    const task = newTask()
    await one.store.insert(task, { callBackUrl: 'https://example.com/hook' })
    await one.store.update(task, {
      ...task,
      version: 2,
      revision: 2,
      status: 'FAILED',
      settledAt: 1,
      updatedAt: 1,
    })
    await multiply(schema.url, 'delivery', CLAIMS - 1)
    const except = { hosts: [], owners: [] }
    const raced = await race(({ outbox }) => outbox.claimDue(10, 1_000_000, 8, except), [one, two])
    expect(raced).toEqual([CLAIMS, CLAIMS])
  })
})

/** What PostgreSQL says of a step of a plan after it has run it. */
interface PlanStep {
  readonly 'Node Type': string
  readonly 'Index Name'?: string
  readonly 'Actual Rows': number
  readonly 'Rows Removed by Filter'?: number
  readonly Plans?: readonly PlanStep[]
}

/** Expects that the query reads its 21 rows, and no others, in the order of the index. */
async function expectIndex(index: string, query: Pick<ReturnType<typeof toListQuery>, 'explain'>) {
  const rows = await query.explain<{ 'QUERY PLAN': [{ Plan: PlanStep }] }>('json', sql`analyze`)
  const steps: PlanStep[] = []
  for (let step = rows[0]?.['QUERY PLAN'][0].Plan; step; [step] = step.Plans ?? []) steps.push(step)
  expect(steps.at(-1)).toMatchObject({ 'Index Name': index, 'Actual Rows': 21 })
  expect(steps.map((step) => step['Node Type'])).not.toContain('Sort')
  expect(steps.map((step) => step['Rows Removed by Filter'] ?? 0)).toEqual(steps.map(() => 0))
}

test('with 100,000 tasks a page of a list, or of changes, reads its own rows, wherever it begins', async () => {
  await using schema = await setUp()
  await using stores = await schema.open(createLocalHints())
  await stores.store.insert(newTask({ id: 'one', status: 'SUCCEEDED' }), {})
  await multiply(schema.url, 'task', 100_000, {
    status: `CASE n % 1000 WHEN 0 THEN 'FAILED' ELSE status END`,
  })
  const pool = new pg.Pool({ connectionString: schema.url })
  await using db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  const after = { createdAt: 1_000, id: 'one-5' }
  for (const [query, index] of [
    [{ status: null, after: null }, 'taskByOwner'],
    [{ status: null, after }, 'taskByOwner'],
    [{ status: 'FAILED', after: null }, 'taskByOwnerStatus'],
    [{ status: 'FAILED', after }, 'taskByOwnerStatus'],
  ] as const) {
    await expectIndex(index, toListQuery(db, { owner: 'owner', limit: 21, ...query }))
  }
  for (const after of [null, { updatedAt: 1_000, id: 'one-5' }])
    await expectIndex('taskByOwnerChange', toChangesQuery(db, { owner: 'owner', since: 0, after, limit: 21 }))
})

test('with 10,000 waiting tasks the statements of the queue read only the rows that they return', async () => {
  await using schema = await setUp()
  await using stores = await schema.open(createLocalHints())
  await stores.store.insert(newTask({ id: 'one', status: 'SUCCEEDED' }), {})
  const client = new pg.Client({ connectionString: schema.url })
  await client.connect()
  await using _client = { [Symbol.asyncDispose]: () => client.end() }
  // The statistics are those of an empty queue: 10,000 of many tasks do not cause new ones.
  await client.query('ALTER TABLE task SET (autovacuum_enabled = off)')
  await multiply(schema.url, 'task', 70_000)
  await client.query(`UPDATE task SET status = 'SUBMITTED', "queueRank" = 1 + random() * 10000, "queueDueAt" = 5,
      "deadlineAt" = 9e15
    WHERE id IN (SELECT 'one-' || n FROM generate_series(1, 10000) n)`)

  await using database = openPlainSql(schema.url)
  const statements = await readQueueStatements(database)
  const planOf = async ({ sql, parameters }: typeof statements.claim) => {
    const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: PlanStep }] }>(
      `EXPLAIN (ANALYZE, FORMAT JSON) ${sql}`,
      [...parameters],
    )
    return rows.flatMap((row) => toSteps(row['QUERY PLAN'][0].Plan))
  }
  const check = async () => {
    for (const [statement, index, count] of [
      [statements.claim, 'taskByEngineQueue', 1],
      [statements.nextDue, 'taskByEngineQueueDue', 1],
      [statements.list, 'taskByEngineQueue', 100],
    ] as const) {
      const steps = await planOf(statement)
      expect(steps.find((step) => step['Index Name'] === index)).toMatchObject({ 'Actual Rows': count })
      expect(steps.map((step) => step['Node Type']).filter((type) => /Sort|Seq|Bitmap/.test(type))).toEqual(
        [],
      )
      expect(steps.map((step) => step['Rows Removed by Filter'] ?? 0)).toEqual(steps.map(() => 0))
    }
  }
  await check()
  await client.query('ANALYZE task')
  await check()
})

/** The steps of a plan. */
function toSteps(step: PlanStep): PlanStep[] {
  return [step, ...(step.Plans ?? []).flatMap(toSteps)]
}

describe('tasks by status', () => {
  const settledTable = async (schema: Awaited<ReturnType<typeof setUp>>, stores: Stores) => {
    await stores.store.insert(newTask({ id: 'one', status: 'SUCCEEDED', settledAt: 5 }), {})
    await multiply(schema.url, 'task', 100_000, {
      status: `CASE n % 10 WHEN 0 THEN 'FAILED' ELSE status END`,
      settledAt: 'n',
    })
  }

  test('are counted in a small table; in a large one the open ones are counted, and the settled ones estimated', async () => {
    await using schema = await setUp()
    await using stores = await schema.open(createLocalHints())
    const { store } = stores
    const first = newTask({ status: 'FAILED', settledAt: 1 })
    await store.insert(first, {})
    expect(await store.countByStatus()).toEqual({ FAILED: 1 })
    await store.remove(first.owner, first.id)
    await settledTable(schema, stores)
    await store.insert(newTask(), {})
    await store.insert(newTask({ status: 'PROCESSING' }), {})
    const { SUBMITTED, PROCESSING, SUCCEEDED = 0, FAILED = 0 } = await store.countByStatus()
    expect({ SUBMITTED, PROCESSING }).toEqual({ SUBMITTED: 1, PROCESSING: 1 })
    expect([Math.round(SUCCEEDED / 2_000), Math.round(FAILED / 2_000)]).toEqual([45, 5])
  })

  test('read no settled task to count the open ones', async () => {
    await using schema = await setUp()
    await using stores = await schema.open(createLocalHints())
    await settledTable(schema, stores)
    for (let n = 0; n < 3; n += 1) await stores.store.insert(newTask(), {})
    await using database = openPlainSql(schema.url)
    const query = toCountQuery(database.db, 'open')
    const rows = await query.explain<{ 'QUERY PLAN': [{ Plan: PlanStep }] }>('json', sql`analyze`)
    const steps = rows.flatMap((row) => toSteps(row['QUERY PLAN'][0].Plan))
    expect(steps.at(-1)).toMatchObject({ 'Index Name': 'taskBySettled', 'Actual Rows': 3 })
  })
})

describeTaskStore('The PostgreSQL store', setUp)
describeErasure('The PostgreSQL store', setUp)
describeResultJobs('The PostgreSQL store', setUp)
describeOutbox('The PostgreSQL store', setUp)
describeQueueStore('The PostgreSQL store', setUp)
describeEngineMigration('A PostgreSQL database', setUp)
