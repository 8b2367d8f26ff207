/**
 * Whether the heap of the service grows under a steady load: `npm run bench:steady [-- MINUTES [FOLDER]]`, 30
 * minutes by default, on SQLite, or on PostgreSQL when TEST_DATABASE_URL is set. FOLDER keeps the heap
 * snapshots.
 *
 * The built service runs as a process: 100 tasks a second are submitted and called back, and 20 sockets a
 * second connect, follow one task to its result and disconnect. After a warm-up (5 minutes, at most a third
 * of the run) come a heap snapshot and samples, each after three full collections; a second snapshot comes at
 * the end. The soak fails when the heap grows by 0.05 MiB a minute or more (least squares over all samples
 * after the warm-up), or when a step of the load fails.
 *
 * Settled tasks are in the database, whose page cache is not part of the heap: resident memory grows until it
 * is full.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { writeCharts } from './compare/charts.ts'
import { format, toTable } from './compare/report.ts'
import { withReplica, type Target } from './load-target.ts'
import type { CollectedMemory } from './replica.ts'
import { compareSnapshots, readSnapshot, type Growth } from './soak/heap-snapshot.ts'
import { toLine } from './soak/least-squares.ts'
import { loadSteadily, type SteadyLoad } from './soak/steady-load.ts'

const BAR_MIB_PER_MINUTE = 0.05
const SAMPLE_MS = 20_000
const WARM_UP_MINUTES = 5
/** Few, so that requests queue in the load generator, not on hundreds of connections, during a snapshot. */
const CONNECTIONS = 32
const TOP_GROWERS = 12
/** A shorter run leaves the charts of bench/figures.svg as they are. */
const DRAWN_MINUTES = 30

/** In MiB. */
const KEYS = ['heap', 'external', 'committed', 'native', 'resident'] as const

type Sample = Readonly<Record<'minute' | (typeof KEYS)[number], number>>

function toSample(minute: number, memory: CollectedMemory): Sample {
  const { heap, external, committed, resident } = memory
  // SQLite's pages, Node itself, and what the C library keeps.
  const native = resident - committed - external
  const mib = (bytes: number) => bytes / 2 ** 20
  return {
    minute,
    heap: mib(heap - external),
    external: mib(external),
    committed: mib(committed),
    native: mib(native),
    resident: mib(resident),
  }
}

const [duration = '30', folder] = process.argv.slice(2)
const minutes = Number(duration)
if (!(minutes > 0)) throw new Error('npm run bench:steady [-- MINUTES [FOLDER]]')

/** Samples until the end of the load; the first snapshot is written after the warm-up. */
async function watch({ replica }: Target, ended: Promise<unknown>, snapshots: string): Promise<Sample[]> {
  const startedAt = performance.now()
  const minute = () => (performance.now() - startedAt) / 60_000
  const warmUp = Math.min(WARM_UP_MINUTES, minutes / 3)
  const samples: Sample[] = []
  /** Samples of the warm-up: the first snapshot comes after them, and takes memory of its own. */
  let warming: number | undefined
  while (minute() < minutes) {
    if (warming === undefined && minute() >= warmUp) {
      warming = samples.length
      await replica.writeHeapSnapshot(join(snapshots, 'before.heapsnapshot'))
    }
    await Promise.race([pause(SAMPLE_MS), ended])
    const sample = toSample(minute(), await replica.readMemory())
    samples.push(sample)
    console.error(
      Object.entries(sample)
        .flatMap(([key, value]) => [key, value.toFixed(2)])
        .join(' '),
    )
  }
  await replica.writeHeapSnapshot(join(snapshots, 'after.heapsnapshot'))
  if (minutes >= DRAWN_MINUTES) await drawSamples(samples)
  return samples.slice(warming)
}

async function drawSamples(samples: readonly Sample[]): Promise<void> {
  const xTitle = 'minutes of a steady load'
  const toSeries = (key: (typeof KEYS)[number]) => ({
    name: key,
    points: samples.map((sample) => [sample.minute, sample[key]] as const),
  })
  await writeCharts('soak', [
    { title: 'Heap after collections, MiB', xTitle, series: [toSeries('heap'), toSeries('external')] },
    {
      title: 'Resident memory, MiB',
      xTitle,
      series: [toSeries('resident'), toSeries('committed'), toSeries('native')],
    },
  ])
}

function showGrowth(growth: readonly Growth[]): void {
  const rows = growth.map(({ group, count, bytes }) => [group, String(count), (bytes / 1_024).toFixed(1)])
  console.log(`\n${toTable(['grew between the snapshots', 'objects', 'KiB'], rows)}\n`)
  for (const { group, retainers } of growth) {
    console.log(`new ${group}:`)
    for (const [path, count] of retainers) console.log(`  ${count} × ${path}`)
  }
}

async function soak(snapshots: string): Promise<void> {
  const load: SteadyLoad = { callbacks: 0, sockets: 0, errors: new Map() }
  let samples: Sample[] = []
  await withReplica(CONNECTIONS, async (target) => {
    const work = loadSteadily(target, minutes, load)
    samples = await watch(target, work, snapshots)
    await work
  })
  const [before, after] = [
    await readSnapshot(join(snapshots, 'before.heapsnapshot')),
    await readSnapshot(join(snapshots, 'after.heapsnapshot')),
  ]
  showGrowth(compareSnapshots(before, after, TOP_GROWERS))
  const rows = KEYS.map((key) => {
    const values = samples.map((sample) => sample[key])
    const { slope, error } = toLine(samples.map((sample) => [sample.minute, sample[key]] as const))
    const figures = [values[0] ?? NaN, Math.max(...values), values.at(-1) ?? NaN].map(format)
    return [key, ...figures, `${slope.toFixed(3)} ± ${error.toFixed(3)}`]
  })
  console.log(`\n${toTable(['MiB after collections', 'first', 'most', 'last', 'growth a minute'], rows)}`)
  const { slope } = toLine(samples.map(({ minute, heap }) => [minute, heap] as const))
  const isMet = slope < BAR_MIB_PER_MINUTE && load.errors.size === 0
  if (!isMet) process.exitCode = 1
  console.log(
    `\n${minutes} minutes, ${load.callbacks} callbacks, ${load.sockets} sockets, errors ${JSON.stringify([...load.errors])}: ${isMet ? 'met' : 'MISSED'} (bar: below ${BAR_MIB_PER_MINUTE} MiB of heap a minute)`,
  )
}

if (folder === undefined) {
  const temporary = await mkdtemp(join(tmpdir(), 'steady-'))
  await soak(temporary)
  await rm(temporary, { recursive: true })
} else await soak(folder)
process.exit()
