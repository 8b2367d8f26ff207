/**
 * What 300 hostile connections do to the service: `npm run bench:soak [SECONDS]`, ten minutes by default. It runs on
 * SQLite, or on PostgreSQL when TEST_DATABASE_URL is set. Linux only.
 *
 * The built service runs as a process with its default settings (sandbox, AUTH_MODE=none), except that without
 * authentication all callers are one owner, so the owner's rate limit leaves room for all of them. A normal client
 * measures its latency meanwhile; a process of its own makes the hostile load, within the bounds that bench/soak/hostile.ts
 * states. A quiet minute follows. The soak fails when
 * - the normal client's p99 of queries, mutations, first events or health checks reaches 100 ms, or a step fails,
 * - memory after the quiet minute is above what it was before by more than 16 MiB of heap and buffers in use, or 48 MiB
 *   resident, both after a garbage collection. "Before" is after two minutes of the same load, which fill the caches
 *   (SQLite's pages, documents) and leave holes in the C library's heap, which it keeps and uses again (the first figure is
 *   without any load),
 * - more than 2 descriptors are open that were not before (files that the database opens and closes),
 * - the service has ended.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { setTimeout as pause } from 'node:timers/promises'
import { quantiles, startReplica, type CollectedMemory } from './replica.ts'
import { openDatabase } from './soak/database.ts'
import { NormalClient } from './soak/normal-client.ts'
import { readFigures, sample, type Figures } from './soak/process-figures.ts'

const P99_BAR_MS = 100
const HEAP_TOLERANCE_MIB = 16
const RESIDENT_TOLERANCE_MIB = 48
/** The load that "before" comes after. */
const FIRST_WAVE_S = 120
const DESCRIPTOR_TOLERANCE = 2
const WARM_UP_MS = 10_000
const QUIET_MS = 60_000
/** The hostile process ends at the end of its slowest connection. */
const HOSTILE_GRACE_MS = 60_000

/** Runs the hostile process to its end; what it says of itself. */
async function attack(url: string, seconds: number): Promise<{ core: number; opened: object }> {
  await using client = new NormalClient(url)
  const { id, watchToken } = await client.submit()
  const args = [
    '--import',
    'tsx',
    'bench/soak/hostile.ts',
    new URL(url).port,
    String(seconds),
    id,
    watchToken,
  ]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const timer = setTimeout(() => child.kill(), seconds * 1_000 + HOSTILE_GRACE_MS)
  const [output] = await Promise.all([text(child.stdout), once(child, 'exit')])
  clearTimeout(timer)
  return JSON.parse(output) as { core: number; opened: object }
}

/** What is loaded on first use belongs to "before". */
async function warmUp(url: string): Promise<void> {
  await (await fetch(`${url}/graphql`, { headers: { accept: 'text/html', connection: 'close' } })).text()
  await using client = new NormalClient(url)
  await client.work(AbortSignal.timeout(WARM_UP_MS))
}

function judge(name: string, isMet: boolean, figures: string): void {
  if (!isMet) process.exitCode = 1
  console.log(`${name.padEnd(34)} ${figures}${isMet ? '' : '  MISSED'}`)
}

type State = Figures & { readonly memory: CollectedMemory }

function report(
  [cold, before, after]: readonly [State, State, State],
  during: readonly Figures[],
  client: NormalClient,
): void {
  const show = (name: string, values: readonly number[], tolerance: number) => {
    const [first = 0, last = 0] = [values[0], values.at(-1)]
    judge(name, last - first <= tolerance, values.map((value) => value.toFixed(0)).join(' → '))
  }
  const toMiB = (key: keyof CollectedMemory) => [before, after].map(({ memory }) => memory[key] / 1_024 ** 2)
  console.log(
    `cold: resident ${(cold.memory.resident / 1_024 ** 2).toFixed(0)} MiB, ${cold.descriptors} descriptors`,
  )
  const used = (during.at(-1)?.cpuSeconds ?? 0) - (during[0]?.cpuSeconds ?? 0)
  console.log(`the service used ${(used / during.length).toFixed(2)} of a core`)
  show('heap in use, MiB', toMiB('heap'), HEAP_TOLERANCE_MIB)
  show('resident, MiB', toMiB('resident'), RESIDENT_TOLERANCE_MIB)
  const peak = (key: keyof Figures) => Math.max(...during.map((figures) => figures[key]))
  show(
    'descriptors (peak in between)',
    [before.descriptors, peak('descriptors'), after.descriptors],
    DESCRIPTOR_TOLERANCE,
  )
  console.log(
    `resident without collecting: at most ${peak('rssMiB').toFixed(0)} MiB, then ${after.rssMiB.toFixed(0)}`,
  )
  for (const [step, times] of Object.entries(client.times)) {
    const sorted = times.toSorted((a, b) => a - b)
    const p99 = sorted[Math.ceil(0.99 * sorted.length) - 1] ?? Infinity
    judge(`${step} (${times.length})`, p99 < P99_BAR_MS, quantiles(times))
  }
  judge('errors of the normal client', client.errors.size === 0, JSON.stringify([...client.errors]))
}

async function soak(seconds: number): Promise<void> {
  await using database = await openDatabase()
  await using service = await startReplica({
    DATABASE_URL: database.url,
    AUTH_MODE: 'none',
    OWNER_RATE_LIMIT: '6000/60s',
    LOG_LEVEL: 'warn',
    // As the container image sets it.
    MALLOC_ARENA_MAX: '2',
  })
  const { url, pid } = service
  await warmUp(url)
  const read = async () => ({ ...(await readFigures(pid)), memory: await service.readMemory() })
  const cold = await read()
  await attack(url, FIRST_WAVE_S)
  await pause(WARM_UP_MS)
  const before = await read()
  const end = new AbortController()
  const client = new NormalClient(url)
  using figures = sample(pid)
  const work = client.work(end.signal)
  const hostile = await attack(url, seconds)
  const during = [...figures.samples]
  end.abort()
  await work
  await client[Symbol.asyncDispose]()
  await pause(QUIET_MS)
  const after = await read()
  console.log(`${seconds} s of hostile load, ${hostile.core.toFixed(2)} of a core:`, hostile.opened)
  report([cold, before, after], during, client)
}

await soak(Number(process.argv[2] ?? 600))
// The normal client's idle connections would keep the process.
process.exit()
