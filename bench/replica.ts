/** What benches share: the built service as a process, and load. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'

/** What a replica answers once it has collected its garbage; bytes. */
export interface CollectedMemory {
  readonly resident: number
  /** In use by JavaScript, with `external`. */
  readonly heap: number
  /** Committed for the JavaScript heap, free pages included. */
  readonly committed: number
  /** Outside of the heap, owned by its objects, such as buffers. */
  readonly external: number
}

/** The built service as a process of its own, on a free port. */
export async function startReplica(settings: Record<string, string>) {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  const env = {
    ...settings,
    PORT: String(port),
    ...(process.env.BENCH_NODE_OPTIONS && { NODE_OPTIONS: process.env.BENCH_NODE_OPTIONS }),
  }
  const args = ['--expose-gc', '--import', './bench/agent.mjs', 'dist/main.js']
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  const exited = once(child, 'exit')
  const url = `http://127.0.0.1:${port}`
  while (
    !(await fetch(`${url}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    ))
  )
    await pause(50)
  const ask = async (command: string, argument?: object): Promise<unknown> => {
    const answer = once(child, 'message')
    child.send({ call: 0, command, argument })
    const [{ result }] = (await answer) as [{ result: unknown }]
    return result
  }
  return {
    url,
    pid: child.pid ?? 0,
    /** Collects the garbage first. Do not call concurrently: answers have no call number. */
    readMemory: () => ask('memory') as Promise<CollectedMemory>,
    writeHeapSnapshot: (file: string) => ask('snapshot', { file }),
    async [Symbol.asyncDispose]() {
      child.kill()
      await exited
    },
  }
}

export async function run(url: string, query: string): Promise<unknown> {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${url}/graphql`, { method: 'POST', headers, body: JSON.stringify({ query }) })
  return response.json()
}

/** Does something `count` times, so many at once; the results in order. */
export async function many<T>(
  count: number,
  atOnce: number,
  work: (index: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = []
  let next = 0
  const worker = async () => {
    while (next < count) {
      const index = next
      next += 1
      results[index] = await work(index)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return results
}

/** Begins something so often in a second, whether or not what came before has ended. */
export async function atRate<T>(
  perSecond: number,
  count: number,
  work: (index: number) => Promise<T>,
): Promise<T[]> {
  const startedAt = performance.now()
  const all: Promise<T>[] = []
  for (let n = 0; n < count; n += 1) {
    const waitMs = startedAt + (n * 1_000) / perSecond - performance.now()
    if (waitMs > 1) await pause(waitMs)
    all.push(work(n))
  }
  return Promise.all(all)
}

export function quantiles(values: readonly number[]): string {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number) => (sorted[Math.ceil(share * sorted.length) - 1] ?? 0).toFixed(1)
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`
}
