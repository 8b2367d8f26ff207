import { describe, expect, test } from '@jest/globals'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { openPostgres } from '../../src/store/postgres.ts'
import { createUpdateBatches } from '../../src/store/postgres-batches.ts'
import { toBatchStatement } from '../../src/store/batch-statements.ts'
import { toChanges, type Database } from '../../src/store/schema.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import { StoreUnavailableError, type TaskStore } from '../../src/tasks/store-port.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { describeUpdates } from '../contract/update-store.ts'
import { inGroups } from '../support/in-groups.ts'
import { newTask } from '../support/new-task.ts'
import { openPlainSql } from '../support/plain-sql.ts'
import { openTestSchema } from '../support/postgres.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

const setUp = async () => {
  const schema = await openTestSchema()
  return Object.assign(schema, {
    open: (hints: TaskHints = createLocalHints()) => openPostgres(schema.url, hints, { log: silent }),
  })
}

async function connectTo(connectionString: string) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

async function insertMany(store: TaskStore, count: number): Promise<UpscaleTask[]> {
  const tasks = Array.from({ length: count }, () => newTask())
  await inGroups(tasks, (task) => store.insert(task, {}))
  return tasks
}

const change = (task: UpscaleTask, changes: Partial<UpscaleTask> = {}): UpscaleTask => ({
  ...task,
  version: 2,
  revision: 2,
  upstreamTaskId: 'upstream',
  ...changes,
})

describe('updates on PostgreSQL that arrive together', () => {
  test('share commits', async () => {
    await using schema = await setUp()
    await using stores = await schema.open()
    await using client = await connectTo(schema.url)
    const tasks = await insertMany(stores.store, 100)
    await Promise.all(tasks.map((task) => stores.store.update(task, change(task))))
    const { rows } = await client.query<{ commits: number }>(
      'SELECT count(DISTINCT xmin::text)::int AS commits FROM task',
    )
    expect(rows).toEqual([{ commits: 1 }])
  })

  test('that wait for hanging ones fail as if there were no free connection', async () => {
    await using schema = await setUp()
    await using stores = await schema.open()
    await using client = await connectTo(schema.url)
    const tasks = await insertMany(stores.store, 12)
    await client.query('BEGIN')
    // Blocks all updates.
    await client.query('LOCK TABLE task IN SHARE MODE')
    // Each shape needs a batch of its own, and two batches run at once.
    const shapes = [{}, { polls: 1 }, { dueAt: 1 }, { sentAt: 1 }, { answerBy: 1 }, { notFoundCount: 1 }]
    const updates = shapes.flatMap((changes, shape) =>
      tasks.slice(2 * shape, 2 * shape + 2).map((task) => stores.store.update(task, change(task, changes))),
    )
    const outcomes = await Promise.allSettled(updates)
    const messages = outcomes.map((outcome) =>
      outcome.status === 'rejected' && outcome.reason instanceof StoreUnavailableError
        ? outcome.reason.message
        : outcome.status,
    )
    expect(messages.slice(0, 4)).not.toContainEqual(expect.stringContaining('earlier updates hang'))
    expect(messages.slice(4)).toEqual(
      Array.from({ length: 8 }, () => 'The database is unavailable: earlier updates hang'),
    )
    await client.query('ROLLBACK')
    const [task] = tasks
    if (task) expect(await stores.store.update(task, change(task))).toBe('updated')
  })

  test('fail alone: one that the database refuses does not fail the others', async () => {
    await using schema = await setUp()
    await using stores = await schema.open()
    const tasks = await insertMany(stores.store, 20)
    const outcomes = await Promise.allSettled(
      tasks.map((task, n) =>
        stores.store.update(task, change(task, n === 7 ? { upstreamTaskId: '\0' } : {})),
      ),
    )
    const expected = tasks.map((_, n) => (n === 7 ? 'rejected' : 'fulfilled'))
    expect(outcomes.map(({ status }) => status)).toEqual(expected)
    const found = await Promise.all(tasks.map(({ id }) => stores.store.read(id)))
    expect(found.map((task) => task?.revision)).toEqual(tasks.map((_, n) => (n === 7 ? 1 : 2)))
  })

  test('do not wait for one whose task another transaction has locked; it is written after that', async () => {
    await using schema = await setUp()
    await using stores = await schema.open()
    await using client = await connectTo(schema.url)
    const [locked, later, ...others] = await insertMany(stores.store, 20)
    if (locked === undefined || later === undefined) throw new Error('There is none')
    // Here a statement has no time limit that could end before the lock does.
    await using database = openPlainSql(schema.url)
    const write = createUpdateBatches(database, silent)
    await client.query('BEGIN')
    await client.query('SELECT FROM task WHERE id = $1 FOR UPDATE', [locked.id])
    const waiting = Promise.allSettled([write(locked, change(locked))])
    const outcomes = await Promise.all(others.map((task) => write(task, change(task))))
    expect(outcomes).toEqual(others.map(() => 'updated'))
    // A later one does not wait either.
    expect(await write(later, change(later))).toBe('updated')
    expect(await stores.store.read(locked.id)).toEqual(locked)
    await client.query('COMMIT')
    expect(await waiting).toEqual([{ status: 'fulfilled', value: 'updated' }])
  })

  test('of two replicas do not deadlock, whatever their order', async () => {
    await using schema = await setUp()
    await using one = await schema.open()
    await using two = await schema.open()
    const tasks = await insertMany(one.store, 200)
    const outcomes = await Promise.all([
      ...tasks.map((task) => one.store.update(task, change(task))),
      ...tasks.toReversed().map((task) => two.store.update(task, change(task))),
    ])
    expect(outcomes.filter((outcome) => outcome === 'updated')).toHaveLength(tasks.length)
    expect(outcomes.filter((outcome) => outcome === 'conflict')).toHaveLength(tasks.length)
  })

  test('are written one by one when their batch is the victim of a deadlock', async () => {
    await using schema = await setUp()
    const warnings: string[] = []
    const log = { ...silent, warn: (_: object, message: string) => void warnings.push(message) }
    await using stores = await openPostgres(schema.url, createLocalHints(), { log })
    await using client = await connectTo(schema.url)
    const tasks = await insertMany(stores.store, 20)
    // A rollback does not undo the use of a number.
    await client.query(`
      CREATE SEQUENCE attempt;
      CREATE FUNCTION deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('attempt') = 1 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;
        RETURN NEW;
      END $$;
      CREATE TRIGGER deadlock BEFORE UPDATE ON task FOR EACH ROW EXECUTE FUNCTION deadlock()`)
    const outcomes = await Promise.all(tasks.map((task) => stores.store.update(task, change(task))))
    expect(outcomes).toEqual(tasks.map(() => 'updated'))
    expect(warnings).toEqual(['a batch of updates failed; its updates are written one by one'])
  })

  test('read only the rows of their tasks', async () => {
    await using schema = await setUp()
    await using stores = await schema.open()
    await using client = await connectTo(schema.url)
    const tasks = await insertMany(stores.store, 300)
    await client.query(`
      INSERT INTO task SELECT (json_populate_record(task, json_build_object('id', n))).* FROM
        (SELECT task FROM task LIMIT 1) one, generate_series(1, 20000) n`)
    await using db = new Kysely<Database>({ dialect: new PostgresDialect({ pool: new pg.Pool() }) })
    for (const size of [1, 2, 20, 100]) {
      const updates = tasks.slice(0, size).map((previous) => {
        const next = change(previous)
        return { previous, next, changes: toChanges(previous, next) }
      })
      const { sql: text, parameters } = toBatchStatement(updates).compile(db)
      const { rows } = await client.query<{ 'QUERY PLAN': string }>(`EXPLAIN ${text}`, [...parameters])
      const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
      expect(plan).toMatch(/Index Scan (using|on) task_pkey/)
      expect(plan).not.toMatch(/Seq Scan/)
    }
  })

  test('all fail, and are announced, when the database is away', async () => {
    await using schema = await setUp()
    const announced: string[] = []
    const hints = Object.assign(createLocalHints(), {
      announce: (topic: string) => void announced.push(topic),
    })
    await using stores = await schema.open(hints)
    await using client = await connectTo(schema.url)
    const tasks = await insertMany(stores.store, 20)
    announced.length = 0
    // As a standby does.
    await client.query(`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'read-only' USING ERRCODE = '25006'; END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON task EXECUTE FUNCTION refuse()`)
    const outcomes = await Promise.allSettled(tasks.map((task) => stores.store.update(task, change(task))))
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({
        status: 'rejected',
        reason: expect.any(StoreUnavailableError) as unknown,
      })
    expect(announced).toEqual(expect.arrayContaining(tasks.map(({ id }) => id)))
  })
})

describeUpdates('The PostgreSQL store', setUp)
