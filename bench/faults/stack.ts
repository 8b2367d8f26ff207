/**
 * What the fault run starts for itself: PostgreSQL, PgBouncer, Redis, an upstream, and replicas of the built
 * service.
 */
import { randomBytes } from 'node:crypto'
import { startPgBouncer } from '../../test/support/pgbouncer.ts'
import { startProcess } from '../../test/support/process.ts'
import { findPort, startPostgres, startRedis } from '../../test/support/servers.ts'
import { startPaidUpstream } from './upstream.ts'

const REPLICAS = 3
const MAIN = 'dist/main.js'

type Process = Awaited<ReturnType<typeof startProcess>>

/** A replica that keeps its port through restarts. */
export class Replica implements AsyncDisposable {
  readonly url: string
  readonly #settings: Record<string, string>
  readonly #main: string
  #process: Process | undefined
  #log = ''

  constructor(port: number, settings: Record<string, string>, main = MAIN) {
    this.url = `http://127.0.0.1:${port}`
    this.#settings = { ...settings, PORT: String(port) }
    this.#main = main
  }

  /** Resolves when it listens. */
  async start(): Promise<void> {
    this.#log = this.log()
    this.#process = await startProcess(this.#settings, [this.#main])
    if (this.#process.url === '') throw new Error(`A replica did not start: ${this.#process.output()}`)
  }

  /** Resolves to its exit code; null: killed. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
    this.#process?.child.kill(signal)
    return (await this.#process?.exited)?.code ?? null
  }

  /** The log of all its processes. */
  log(): string {
    return this.#log + (this.#process?.output() ?? '')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process?.[Symbol.asyncDispose]()
  }
}

export type Stack = Awaited<ReturnType<typeof startStack>>

/** `deadlineMs`: TASK_DEADLINE_MS of the replicas. */
export async function startStack(deadlineMs: number) {
  await using opened = new AsyncDisposableStack()
  const postgres = opened.use(await startPostgres())
  const pooler = opened.use(await startPgBouncer(30, postgres.url))
  const redis = opened.use(await startRedis())
  const targets: string[] = []
  const pickTarget = () => targets[Math.floor(Math.random() * targets.length)] ?? ''
  const upstream = opened.use(await startPaidUpstream(pickTarget))
  const pooled = new URL(postgres.url)
  pooled.host = new URL(pooler.url).host
  const settings = {
    DATABASE_URL: pooled.href,
    DATABASE_LISTEN_URL: postgres.url,
    REDIS_URL: redis.url,
    UPSTREAM_URL: upstream.url,
    TASK_DEADLINE_MS: String(deadlineMs),
    POLL_INTERVAL_MS: '5000',
    DRAIN_MS: '5000',
    WATCH_TOKEN_SECRETS: randomBytes(32).toString('base64url'),
    CALLBACK_SIGNING_SECRETS: `whsec_${randomBytes(32).toString('base64')}`,
    // All clients are one owner.
    OWNER_RATE_LIMIT: '10000/10s',
    UPSTREAM_RATE_LIMIT: '10000/10s',
    OWNER_SOCKET_LIMIT: '1000',
    SOCKET_OPERATION_LIMIT: '1000',
    LOG_LEVEL: 'info',
    ACCESS_LOG: 'off',
  }
  const replicas: Replica[] = []
  opened.defer(async () => {
    await Promise.all(replicas.map((replica) => replica[Symbol.asyncDispose]()))
  })
  const add = async (main?: string) => {
    const replica = new Replica(await findPort(), settings, main)
    replicas.push(replica)
    await replica.start()
    targets.push(replica.url)
    return replica
  }
  for (let count = 0; count < REPLICAS; count += 1) await add()
  const rest = opened.move()
  return {
    postgres,
    pooler,
    redis,
    upstream,
    replicas,
    /** The base URL of a replica, as a load balancer without health checks chooses it. */
    pickTarget,
    /** Starts one more replica, of another build, and gives it a share of the load. */
    add,
    /** Takes the replica out of the load balancer. */
    withdraw: (replica: Replica) => void targets.splice(targets.indexOf(replica.url), 1),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
