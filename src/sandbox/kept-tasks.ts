/** The tasks that the sandbox has accepted. They are stored, so that a restart loses none of them. */
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { toStartError } from '../start-error.ts'

/**
 * SQLite: the tasks are in a separate file beside `file`. PostgreSQL: they are in a table that all replicas
 * share.
 */
export type SandboxDatabase =
  | { readonly kind: 'sqlite'; readonly file: string }
  | { readonly kind: 'postgres'; readonly url: string }
  | { readonly kind: 'memory' }

export interface CreateRequest {
  readonly taskId: string
  readonly imageIndex: number
  readonly waterMark: string | null
  readonly callBackUrl: string | null
}

/** A task as the sandbox stores it. Instants are Unix milliseconds. */
export interface SandboxTask {
  readonly id: string
  /** The name of the dialect that accepted it. */
  readonly dialect: string
  readonly request: CreateRequest
  /** What the dialect repeats in its records. */
  readonly details: Readonly<Record<string, string>>
  readonly resultUrl: string
  readonly createdAt: number
  /** When the task completes, even if no process runs then. */
  readonly dueAt: number
  readonly completedAt: number | null
}

export interface KeptTasks extends AsyncDisposable {
  /** Resolves once the task is stored. Keeps the newest 10,000. */
  add(task: Omit<SandboxTask, 'completedAt'>): Promise<void>
  find(id: string): Promise<SandboxTask | undefined>
  /** Stores that a task is completed. False: another process has completed it, and sends the callbacks. */
  complete(id: string, at: number): Promise<boolean>
  /** The tasks that are not completed, oldest first. */
  pending(): Promise<SandboxTask[]>
  /** Whether a task with this source task id was ever accepted. */
  hasSource(sourceTaskId: string): Promise<boolean>
  /** How many tasks were ever accepted. */
  count(): Promise<number>
}

const MAX_TASKS = 10_000

type Row = Record<string, unknown>

interface WarnLog {
  warn(facts: object, sentence: string): void
}

/** Both databases accept the same statements, with `$1` for the first value. */
interface Connection extends AsyncDisposable {
  query(statement: string, values?: readonly (string | number)[]): Promise<Row[]>
}

export async function openKeptTasks(database: SandboxDatabase, log: WarnLog): Promise<KeptTasks> {
  const { query, [Symbol.asyncDispose]: close } =
    database.kind === 'postgres'
      ? await openPostgres(database.url, log)
      : await openSqlite(database.kind === 'sqlite' ? `${database.file}-sandbox` : ':memory:')
  return {
    async add({ id, dueAt, ...rest }) {
      await query('INSERT INTO sandbox_source (id) VALUES ($1) ON CONFLICT DO NOTHING', [rest.request.taskId])
      const insert = 'INSERT INTO sandbox_task (id, "dueAt", task) VALUES ($1, $2, $3) RETURNING seq'
      const [row] = await query(insert, [id, dueAt, JSON.stringify(rest)])
      await query('DELETE FROM sandbox_task WHERE seq <= $1', [Number(row?.seq) - MAX_TASKS])
    },
    async find(id) {
      const [row] = await query('SELECT * FROM sandbox_task WHERE id = $1', [id])
      return row && toTask(row)
    },
    async complete(id, at) {
      const pending = 'id = $1 AND "completedAt" IS NULL'
      const update = `UPDATE sandbox_task SET "completedAt" = $2 WHERE ${pending} RETURNING seq`
      return (await query(update, [id, at])).length > 0
    },
    async pending() {
      const rows = await query('SELECT * FROM sandbox_task WHERE "completedAt" IS NULL ORDER BY seq')
      return rows.map(toTask)
    },
    async hasSource(sourceTaskId) {
      return (await query('SELECT id FROM sandbox_source WHERE id = $1', [sourceTaskId])).length > 0
    },
    async count() {
      const [row] = await query('SELECT max(seq) AS seq FROM sandbox_task')
      return Number(row?.seq ?? 0)
    },
    [Symbol.asyncDispose]: close,
  }
}

/** What a row of an earlier version lacks. */
const FIRST_DIALECT = { dialect: 'kie-midjourney', details: {} }

/** `pg` returns bigint as a string. */
function toTask({ id, task, dueAt, completedAt }: Row): SandboxTask {
  const rest = JSON.parse(String(task)) as Omit<SandboxTask, 'id' | 'dueAt' | 'completedAt'>
  return {
    ...FIRST_DIALECT,
    ...rest,
    id: String(id),
    dueAt: Number(dueAt),
    completedAt: completedAt === null ? null : Number(completedAt),
  }
}

const COLUMNS = 'id text NOT NULL UNIQUE, "dueAt" bigint NOT NULL, "completedAt" bigint, task text NOT NULL'

const SOURCES = 'CREATE TABLE IF NOT EXISTS sandbox_source (id text PRIMARY KEY)'

async function openSqlite(file: string): Promise<Connection> {
  try {
    if (file !== ':memory:') await mkdir(dirname(file), { recursive: true })
    const sqlite = new DatabaseSync(file, { timeout: 1_000 })
    sqlite.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
    sqlite.exec(`CREATE TABLE IF NOT EXISTS sandbox_task (seq integer PRIMARY KEY AUTOINCREMENT, ${COLUMNS})`)
    sqlite.exec(SOURCES)
    return {
      query(statement, values = []) {
        const named = Object.fromEntries(values.map((value, index) => [`$${index + 1}`, value]))
        return Promise.resolve(sqlite.prepare(statement).all(named))
      },
      [Symbol.asyncDispose]() {
        sqlite.close()
        return Promise.resolve()
      },
    }
  } catch (error) {
    throw toStartError(`DATABASE_URL: the sandbox cannot keep its tasks in ${file}`, error)
  }
}

/** Advisory lock for creating the table: IF NOT EXISTS alone can fail when replicas start together. */
const CREATE_LOCK = 7_233_612

async function openPostgres(url: string, log: WarnLog): Promise<Connection> {
  // Loaded only here: most sandboxes are on SQLite.
  const { default: pg } = await import('pg')
  const pool = new pg.Pool({
    connectionString: url,
    max: 4,
    connectionTimeoutMillis: 5_000,
    query_timeout: 5_000,
  })
  pool.on('error', (err) => log.warn({ err }, 'sandbox: an idle database connection failed; it is replaced'))
  try {
    // Skipped if the tables exist, so that a replica can start on a read-only database.
    const { rows } = await pool.query<Row>("SELECT to_regclass('sandbox_source') IS NULL AS missing")
    if (rows[0]?.missing === true)
      await pool.query(
        `BEGIN; SELECT pg_advisory_xact_lock(${CREATE_LOCK});
         CREATE TABLE IF NOT EXISTS sandbox_task (seq bigserial PRIMARY KEY, ${COLUMNS}); ${SOURCES}; COMMIT`,
      )
  } catch (error) {
    await pool.end()
    throw toStartError('DATABASE_URL: the sandbox cannot keep its tasks in PostgreSQL', error)
  }
  return {
    query: async (statement, values = []) => (await pool.query<Row>(statement, [...values])).rows,
    [Symbol.asyncDispose]: () => pool.end(),
  }
}
