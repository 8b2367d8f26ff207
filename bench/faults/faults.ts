/** The faults that the run injects, one after another. */
import { setTimeout as pause } from 'node:timers/promises'
import { buildPreviousRelease, findMissingHistory } from '../../test/support/previous-release.ts'
import type { Replica, Stack } from './stack.ts'

export interface Fault {
  readonly name: string
  /** Resolves when what has failed is back. */
  inject(stack: Stack): Promise<void>
}

/** How long a replica of the previous release takes part, in milliseconds. */
const BESIDE_MS = 15_000

function pick({ replicas }: Stack, index: number): Replica {
  const replica = replicas[index]
  if (replica === undefined) throw new Error(`There is no replica ${index}`)
  return replica
}

const toSeconds = (ms: number) => `${ms / 1_000} s`

const kill: Fault = {
  name: 'replica: kill -9, restarted',
  async inject(stack) {
    const replica = pick(stack, 0)
    await replica.end('SIGKILL')
    await replica.start()
  },
}

const terminate: Fault = {
  name: 'replica: SIGTERM, restarted',
  async inject(stack) {
    const replica = pick(stack, 1)
    const code = await replica.end('SIGTERM')
    if (code !== 0) throw new Error(`A replica ended with exit code ${code} after SIGTERM`)
    await replica.start()
  },
}

const stopPostgres = (ms: number): Fault => ({
  name: `PostgreSQL: stopped ${toSeconds(ms)}`,
  async inject({ postgres }) {
    await postgres.stop()
    await pause(ms)
    await postgres.start()
  },
})

const freezeRedis = (ms: number): Fault => ({
  name: `Redis: frozen ${toSeconds(ms)}`,
  async inject({ redis }) {
    redis.process().kill('SIGSTOP')
    await pause(ms)
    redis.process().kill('SIGCONT')
  },
})

const restartPooler: Fault = {
  name: 'PgBouncer: killed, restarted',
  async inject({ pooler }) {
    await pooler.stop()
    await pooler.start()
  },
}

const runBeside = (main: string): Fault => ({
  name: 'previous release beside, then SIGTERM',
  async inject(stack) {
    const replica = await stack.add(main)
    await pause(BESIDE_MS)
    // As a rollout does. While it stops, the previous release answers HTTP 503 without `retryable`.
    stack.withdraw(replica)
    await replica.end('SIGTERM')
  },
})

export interface Faults extends AsyncDisposable {
  readonly list: readonly Fault[]
  /** The reason why the previous release is left out; undefined: it is not. */
  readonly leftOut: string | undefined
}

/** `isShort`: shorter outages, and without the previous release, which takes half a minute to build. */
export async function prepareFaults(isShort: boolean): Promise<Faults> {
  await using opened = new AsyncDisposableStack()
  const list = [
    kill,
    terminate,
    stopPostgres(isShort ? 3_000 : 8_000),
    freezeRedis(isShort ? 3_000 : 10_000),
    restartPooler,
  ]
  const leftOut = isShort ? 'the run is a short one' : await findMissingHistory()
  if (leftOut === undefined) list.push(runBeside(opened.use(await buildPreviousRelease()).main))
  const rest = opened.move()
  return { list, leftOut, [Symbol.asyncDispose]: () => rest.disposeAsync() }
}
