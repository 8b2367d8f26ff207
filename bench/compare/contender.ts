/** A contender of the comparison as a process of its own, on a core of its own. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** A task that waits for its callback. */
export interface WaitingTask {
  readonly id: string
  readonly callBackPath: string
  /** The id that the callback has to name; absent where any will do. */
  readonly upstreamTaskId?: string
}

export interface Contender {
  readonly name: string
  /** Its program: a path from this folder's parent, or an absolute one. */
  readonly program: string
  /**
   * A runtime other than this Node: its executable, as a path like the program's, and how it loads the agent.
   */
  readonly runtime?: { readonly executable: string; readonly options: (agent: string) => readonly string[] }
  readonly env?: Readonly<Record<string, string>>
}

/** In bytes. */
export interface Memory {
  readonly resident: number
  readonly heap: number
}

/** A contender that runs. */
export interface Running extends AsyncDisposable {
  readonly contender: Contender
  readonly port: number
  readonly pid: number
  /** From the start of the process until it takes requests, in milliseconds. */
  readonly readyAfterMs: number
  /** Bytes that it holds once its garbage is collected: in memory, and of these in use in its heap. */
  memory(): Promise<Memory>
  /** Milliseconds of its core that it has used so far. */
  cpu(): Promise<number>
  tasks(count: number, settled?: boolean): Promise<WaitingTask[]>
  /** Makes one new state of each task; resolves when it is with the subscribers' sockets, or on its way. */
  publish(ids: readonly string[]): Promise<void>
}

const FOLDER = fileURLToPath(new URL('..', import.meta.url))
const CONTENDER_CORE = '0'
const LOAD_CORE = '1'

/** A folder for a CPU profile of each contender; undefined: none is written. */
const PROFILES = process.env.BENCH_PROFILES

/** Removed at the end only: discarding deleted blocks delays the next commits on some disks. */
const DATA = mkdtempSync(join(tmpdir(), 'bench-'))
process.once('exit', () => {
  rmSync(DATA, { recursive: true })
})

/** Whether processes can be pinned here; without, the load takes from what it measures. */
export const PINNED = can('taskset', ['-c', LOAD_CORE, 'true'])

function can(command: string, args: readonly string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Keeps this process, which is the load, on a core of its own. */
export function pinLoad(): void {
  if (PINNED) execFileSync('taskset', ['-acp', LOAD_CORE, String(process.pid)], { stdio: 'ignore' })
}

export async function start(contender: Contender, upstreamUrl: string): Promise<Running> {
  const port = await findPort()
  const folder = await mkdtemp(join(DATA, 'of-'))
  const url = `http://127.0.0.1:${port}`
  const [runtime, ...options] = toRuntime(contender)
  const [command, ...rest] = PINNED
    ? (['taskset', '-c', CONTENDER_CORE, runtime, ...options] as const)
    : ([runtime, ...options] as const)
  const startedAt = performance.now()
  const child = spawn(command, rest, {
    env: {
      PATH: process.env.PATH,
      NODE_ENV: 'production',
      PORT: String(port),
      UPSTREAM_URL: upstreamUrl,
      PUBLIC_URL: url,
      DATA_FILE: join(folder, 'data.sqlite'),
      DATABASE_URL: `file:${join(folder, 'own.db')}`,
      ...contender.env,
    },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const exited = once(child, 'exit')
  const isReady = () =>
    fetch(`${url}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    )
  while (!(await isReady())) {
    if (child.exitCode !== null) throw new Error(`${contender.name} ended before it was ready`)
    await pause(5)
  }
  const readyAfterMs = performance.now() - startedAt
  const answers = new Map<number, (result: unknown) => void>()
  child.on('message', ({ call, result }: { call: number; result: unknown }) => {
    answers.get(call)?.(result)
    answers.delete(call)
  })
  let calls = 0
  const ask = (command: string, argument?: object) => {
    const { promise, resolve } = Promise.withResolvers<unknown>()
    answers.set((calls += 1), resolve)
    child.send({ call: calls, command, argument })
    return promise
  }
  return {
    contender,
    port,
    pid: child.pid ?? 0,
    readyAfterMs,
    memory: () => ask('memory') as Promise<Memory>,
    cpu: () => ask('cpu') as Promise<number>,
    async tasks(count, settled = false) {
      const tasks = (await ask('tasks', { count, settled })) as (WaitingTask & { callBackUrl?: string })[]
      return tasks.map((task) => ({ ...task, callBackPath: task.callBackUrl ?? task.callBackPath }))
    },
    publish: (ids) => ask('publish', { ids }) as Promise<void>,
    async [Symbol.asyncDispose]() {
      child.kill(PROFILES === undefined ? 'SIGKILL' : 'SIGTERM')
      await exited
    },
  }
}

/** The command that runs a contender with the agent beside it. */
function toRuntime({ runtime, program }: Contender): readonly [string, ...string[]] {
  const [agent, file] = [join(FOLDER, 'agent.mjs'), resolve(FOLDER, program)]
  if (runtime !== undefined) return [resolve(FOLDER, runtime.executable), ...runtime.options(agent), file]
  const profiling = PROFILES === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${PROFILES}`]
  return [process.execPath, '--expose-gc', ...profiling, '--import', agent, file]
}

async function findPort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}
