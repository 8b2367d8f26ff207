import { setTimeout as pause } from 'node:timers/promises'
import pg from 'pg'
import { Clients } from './clients.ts'
import { prepareFaults } from './faults.ts'
import { isOpen, type Phase, type Run, type StoredTask } from './report.ts'
import { startStack, type Stack } from './stack.ts'

interface Plan {
  /** Upscales that begin in a second. */
  readonly perSecond: number
  /** Upscales that begin just before each fault. */
  readonly burst: number
  /** The load before the first fault and after each one, in milliseconds. */
  readonly quietMs: number
  /** TASK_DEADLINE_MS. */
  readonly deadlineMs: number
  readonly isShort: boolean
}

export const FULL: Plan = { perSecond: 8, burst: 24, quietMs: 15_000, deadlineMs: 60_000, isShort: false }
export const SHORT: Plan = { perSecond: 5, burst: 15, quietMs: 3_000, deadlineMs: 40_000, isShort: true }

/** After a deadline, the poll that settles the task is due; milliseconds. */
const GRACE_MS = 20_000

/** Starts servers, replicas and clients, injects all faults, and waits until the tasks have settled. */
export async function runFaults({ perSecond, burst, quietMs, deadlineMs, isShort }: Plan): Promise<Run> {
  await using faults = await prepareFaults(isShort)
  await using stack = await startStack(deadlineMs)
  const clients = new Clients(stack.pickTarget)
  const end = new AbortController()
  const load = clients.work(perSecond, end.signal)
  const phases: Phase[] = []
  const run = async (name: string, upscales: number, work: () => Promise<void>) => {
    const startedAt = performance.now()
    await clients.burst(upscales)
    const failedAt = performance.now()
    await work()
    const endedAt = performance.now()
    await pause(quietMs)
    phases.push({ name, startedAt, failedAt, endedAt, nextAt: performance.now() })
  }
  await run('none', burst, () => Promise.resolve())
  for (const { name, inject } of faults.list) await run(name, burst, () => inject(stack))
  end.abort()
  await load
  await run('none: the rest of the tasks', 0, async () => {
    const signal = AbortSignal.timeout(deadlineMs + GRACE_MS)
    const isBusy = async () => clients.isBusy() || (await readTasks(stack)).some(isOpen)
    while (!signal.aborted && (await isBusy())) await pause(500)
    await stack.upstream.idle()
  })
  const { paid, callbackAnswers } = stack.upstream
  const stored = await readTasks(stack)
  return {
    phases,
    leftOut: faults.leftOut,
    clients,
    stored,
    paid,
    callbackAnswers,
    logs: stack.replicas.map((replica) => replica.log()),
  }
}

async function readTasks({ postgres }: Stack): Promise<StoredTask[]> {
  const client = new pg.Client({ connectionString: postgres.url })
  await client.connect()
  const { rows } = await client.query<StoredTask>('SELECT id, "sourceTaskId" AS source, status FROM task')
  await client.end()
  return rows
}
