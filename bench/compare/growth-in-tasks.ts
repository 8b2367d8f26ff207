import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { alone, judge, note, type BenchRun } from './bench-run.ts'
import { writeCharts } from './charts.ts'
import type { Running } from './contender.ts'
import { OWN } from './contenders.ts'
import { copyDatabase, fillDatabase } from './filled-database.ts'
import { callbacksPerSecond, callbackToSubscriberMs, events, median } from './measures.ts'
import { mutationsPerSecond, ownShareMs, quantile } from './measures.ts'
import { format, toTable } from './report.ts'

const SIZES = [0, 100_000, 1_000_000]
const BAR = 1.1

const toMeasures = ({ upstream }: BenchRun): Record<string, (running: Running) => Promise<number>> => ({
  'callbacks settled/s': callbacksPerSecond,
  'CPU µs per event': async (running) =>
    (await events(running, { subscribers: 5_000, distinct: true })).cpuMicros,
  'mutations/s': (running) => mutationsPerSecond(running, upstream),
  'own share p50 ms': async (running) => quantile(await ownShareMs(running, upstream), 0.5),
  'latency p50 ms': async (running) => quantile(await callbackToSubscriberMs(running), 0.5),
})

/** The same figures with an empty store and with full ones, in turn. */
export async function growInTasks(bench: BenchRun): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'filled-'))
  try {
    for (const size of SIZES) await fillDatabase(join(folder, `${size}.db`), size)
    note('filled')
    const found: { name: string; values: number[]; worse: number[] }[] = []
    for (const [name, measure] of Object.entries(toMeasures(bench))) {
      const values = await measureAll(bench, folder, name, measure)
      const [empty = NaN] = values
      // How many times as bad it is with the full one.
      const worse = values.map((value) => (name.endsWith('/s') ? empty / value : value / empty))
      found.push({ name, values, worse })
    }
    const series = found.map(({ name, worse }) => ({
      name,
      points: worse.map((value, n) => [SIZES[n] ?? 0, value] as const),
    }))
    const title = 'Times as bad as with an empty store'
    await writeCharts('settled tasks', [{ title, xTitle: 'settled tasks in the store', series }])
    const sizes = SIZES.map((size) => size.toLocaleString('en'))
    const heads = ['', ...sizes, ...sizes.slice(1).map((size) => `${size}: times as bad (bar: below ${BAR})`)]
    const toCells = ({ name, values, worse }: (typeof found)[number]) => [
      name,
      ...values.map(format),
      ...worse.slice(1).map((each) => judge(each, BAR)),
    ]
    return toTable(heads, found.map(toCells))
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** The median of a measure for each size. */
async function measureAll(
  bench: BenchRun,
  folder: string,
  name: string,
  measure: (running: Running) => Promise<number>,
): Promise<number[]> {
  const found = SIZES.map((): number[] => [])
  for (let run = 0; run < bench.runs; run += 1)
    for (const [n, size] of SIZES.entries()) {
      const file = join(folder, `copy-${size}.db`)
      await copyDatabase(join(folder, `${size}.db`), file)
      const value = await alone(bench, { ...OWN, env: { ...OWN.env, DATABASE_URL: `file:${file}` } }, measure)
      found[n]?.push(value)
      note(`${name} with ${size} settled tasks: ${value}`)
    }
  return found.map(median)
}
