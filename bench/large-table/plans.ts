/** The plans of the hot statements, as PostgreSQL runs them on this database. */
import { Kysely, PostgresDialect, sql, type CompiledQuery } from 'kysely'
import pg from 'pg'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { SqlOutbox } from '../../src/store/outbox.ts'
import { SqlQueue } from '../../src/store/queue.ts'
import { SqlResultJobs } from '../../src/store/result-jobs.ts'
import type { Database } from '../../src/store/schema.ts'
import type { Run, Sql } from '../../src/store/sql.ts'
import { readBoundedCounts } from '../../src/store/task-counts.ts'
import { SqlTaskStore } from '../../src/store/tasks.ts'
import { newTask } from '../../test/support/new-task.ts'
import { LARGE_OWNER } from './fill.ts'

const DAY_MS = 86_400_000
const ENGINE = 'kie-midjourney'
/** Instants, which JavaScript's numbers hold exactly. */
const INT8 = pg.types.builtins.INT8

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Index Name'?: string
  readonly 'Relation Name'?: string
  readonly 'Actual Rows': number
  readonly 'Actual Loops': number
  readonly 'Rows Removed by Filter'?: number
  readonly Plans?: readonly PlanNode[]
}

interface Plan {
  readonly Plan: PlanNode & { readonly 'Shared Hit Blocks': number; readonly 'Shared Read Blocks': number }
  readonly 'Planning Time': number
  readonly 'Execution Time': number
}

class Undo extends Error {}

/** Compiles the statements of the stores, and explains each as it is run. */
class Explainer implements AsyncDisposable {
  readonly #db: Kysely<Database>
  #name = ''

  constructor(url: string) {
    const pool = new pg.Pool({
      connectionString: url,
      types: {
        getTypeParser: (id, format) => (id === INT8 ? Number : pg.types.getTypeParser(id, format)) as unknown,
      },
    })
    this.#db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  }

  /**
   * Runs statements of the stores in a transaction that is rolled back. Explains those that match, by default
   * all.
   */
  async explain(name: string, work: (sql: Sql) => Promise<unknown>, matching = /./): Promise<void> {
    this.#name = name
    const undo = this.#db.transaction().execute(async (trx) => {
      const run: Run = async (statement) => {
        const compiled = statement.compile(this.#db)
        if (matching.test(compiled.sql)) await this.#print(trx, compiled)
        return trx.executeQuery(compiled)
      }
      await work({
        db: this.#db,
        run,
        transact: (part) => part(run),
        locksRows: true,
        isOneOf: (ids) => sql`id = any(${ids})`,
        [Symbol.asyncDispose]: () => Promise.resolve(),
      })
      throw new Undo()
    })
    await undo.catch((error: unknown) => {
      if (!(error instanceof Undo)) throw error
    })
  }

  async #print(db: Kysely<Database>, { sql: text, parameters }: CompiledQuery): Promise<void> {
    const explained = { sql: `explain (analyze, buffers, format json) ${text}`, parameters }
    await sql`savepoint explained`.execute(db)
    const { rows } = await db.executeQuery<{ 'QUERY PLAN': [Plan] }>({
      ...sql``.compile(this.#db),
      ...explained,
    })
    // The statement itself runs afterwards.
    await sql`rollback to savepoint explained`.execute(db)
    const [plan] = rows[0]?.['QUERY PLAN'] ?? []
    if (plan === undefined) return
    const { 'Shared Hit Blocks': hit, 'Shared Read Blocks': read } = plan.Plan
    console.log(
      `| ${this.#name} | ${toNodes(plan.Plan).join(' ← ')} | ${hit + read} | ${plan['Execution Time'].toFixed(2)} |`,
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#db.destroy()
  }
}

/** `Index Scan taskByOwner (21)`: the nodes from the root on, with the rows that each has read. */
function toNodes(node: PlanNode): string[] {
  const place = node['Index Name'] ?? node['Relation Name']
  const filtered = node['Rows Removed by Filter'] ?? 0
  const rows = (node['Actual Rows'] + filtered) * node['Actual Loops']
  const own = `${node['Node Type']}${place === undefined ? '' : ` ${place}`} (${rows})`
  return [own, ...(node.Plans ?? []).flatMap(toNodes)]
}

/** Prints a table of the plans: nodes with the rows that they read, pages, milliseconds. */
export async function printPlans(url: string): Promise<void> {
  await using explainer = new Explainer(url)
  const explain = explainer.explain.bind(explainer)
  const now = Date.now()
  console.log('\n| statement | plan: nodes from the root, with rows read | pages | ms |\n|---|---|---|---|')
  const toStore = (each: Sql) => new SqlTaskStore(each, createLocalHints(), () => Promise.resolve({}))
  const list = { owner: LARGE_OWNER, status: null, after: null, limit: 21 }
  const far = { createdAt: now - 45 * DAY_MS, id: '' }
  await explain('list of an owner', (each) => toStore(each).list(list))
  await explain('list of an owner, far down', (each) => toStore(each).list({ ...list, after: far }))
  for (const status of ['PROCESSING', 'FAILED', 'SUCCEEDED'] as const)
    await explain(`list of an owner, ${status}`, (each) => toStore(each).list({ ...list, status }))
  await explain('changes of an owner', (each) =>
    toStore(each).listChanges({ owner: LARGE_OWNER, since: now - DAY_MS, after: null, limit: 100 }),
  )
  const { rows } = await readExamples(url)
  await explain('read 100 tasks', (each) => toStore(each).readMany(rows.map(({ id }) => id)))
  const picture = rows[0]?.pictureDigest ?? ''
  const again = newTask({ owner: LARGE_OWNER, pictureDigest: picture, createdAt: now })
  await explain('insert: same picture', (each) => toStore(each).insert(again, {}), /"pictureDigest" =/)
  await explain(
    'insert of a new task',
    (each) => toStore(each).insert({ ...again, pictureDigest: 'new' }, {}),
    /^insert/,
  )
  await explain(
    'claim of due polls',
    (each) => toStore(each).claimDue(now + 7_200_000, now + 7_300_000, 5),
    /with "due"/,
  )
  await explain('overdue polls', (each) => toStore(each).readOverdue(now + 7_200_000))
  await explain('engines of open tasks', (each) => toStore(each).listOpenEngines())
  await explain(
    'schedule after a clock was set back',
    (each) => toStore(each).claimDue(now, now, 5),
    /"scheduledAt" >/,
  )
  await explain('retention: settled tasks', (each) => toStore(each).removeSettled(now - 89 * DAY_MS, 100))
  await explain('expired keys', (each) => toStore(each).removeExpiredKeys(now - DAY_MS / 2, 1_000))
  await explain('usage of 30 days, one owner', (each) =>
    toStore(each).readUsage(toDay(now - 30 * DAY_MS), LARGE_OWNER),
  )
  await explain('usage of 30 days, all owners', (each) =>
    toStore(each).readUsage(toDay(now - 30 * DAY_MS), null),
  )
  await explain(
    'claim of due deliveries',
    (each) => new SqlOutbox(each).claimDue(now, now, 8, { hosts: [], owners: [] }),
    /with "due"/,
  )
  await explain('deliveries of 20 tasks', (each) =>
    new SqlOutbox(each).list(rows.slice(0, 20).map(({ id }) => id)),
  )
  await explain(
    'claim of the queue',
    (each) => new SqlQueue(each).claimQueued(ENGINE, now, now, 1),
    /with "due"/,
  )
  await explain('metrics: tasks by status', (each) => readBoundedCounts(each))
  await explain('metrics: deliveries', (each) => new SqlOutbox(each).readBacklog())
  await explain('metrics: queue', (each) => new SqlQueue(each).readBacklog())
  await explain('times of the latest tasks', (each) => new SqlQueue(each).readTimes(ENGINE, 500))
  await explain('claim of due results', (each) => new SqlResultJobs(each).claimDue(now, now, 8, DAY_MS))
  await explain('overdue inspections', (each) => new SqlResultJobs(each).listOverdue(now, 100))
}

const toDay = (at: number) => new Date(at).toISOString().slice(0, 10)

async function readExamples(url: string) {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const found = await client.query<{ id: string; pictureDigest: string }>(
    'select id, "pictureDigest" from task tablesample system (0.1) limit 100',
  )
  await client.end()
  return found
}
