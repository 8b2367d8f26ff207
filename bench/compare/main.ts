/**
 * Ours beside its peers, in tables and a plot: `npm run bench`, `npm run bench -- 3` for three runs, `npm run bench -- 3
 * settled` for one of the tables only.
 * How it is measured, and what came out, stands in bench/README.md.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { openTestSchema, TEST_DATABASE_URL } from '../../test/support/postgres.ts'
import { pinLoad, PINNED, start, type Contender, type Running } from './contender.ts'
import { AS_SHIPPED, barePostgres, onPostgres, OWN, PEERS } from './contenders.ts'
import {
  memoryPerSubscription,
  callbacksPerSecond,
  callbackToSubscriberMs,
  events,
  median,
  mutationsPerSecond,
  ownShareMs,
  quantile,
} from './measures.ts'
import { MEASURES } from './plan.ts'
import { toSvg, type Series } from './plot.ts'
import { toComparison, toTable } from './report.ts'
import { startStubUpstream } from './upstream.ts'

/** Sockets of both ends count against `ulimit -n` of one process each: 20,000 is one limit too many for some machines. */
const SIZES = [1_000, 5_000, 19_500]
const SETTLED = 100_000
const FILE = 'bench/figures.md'
const [runs = '1', only] = process.argv.slice(2)
const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}`
const pinned = PINNED ? 'contender and load pinned to a core each' : 'not pinned: no taskset here'

build()
pinLoad()
await using upstream = await startStubUpstream()
const note = (text: string) => console.error(`${new Date().toISOString().slice(11, 19)} ${text}`)
const parts: Record<string, () => Promise<string>> = {
  'Ours beside its peers': compare,
  'Growth: subscribers': grow,
  [`Growth: ${SETTLED.toLocaleString('en')} settled tasks in the store`]: fill,
  'PostgreSQL as store, and replicas': share,
}
for (const [title, measure] of Object.entries(parts))
  if (only === undefined || title.includes(only)) await write(title, await measure())
process.exit()

/** Puts what was found in the place of what was found before. */
async function write(title: string, found: string): Promise<void> {
  const today = new Date().toISOString().slice(0, 10)
  const text = `Measured on ${today}: ${machine}, ${pinned}, ${runs} run(s).\n\n${found}`
  console.log(`\n## ${title}\n\n${text}`)
  const before = existsSync(FILE) ? (await readFile(FILE, 'utf8')).split(/^## /m).slice(1) : []
  const sections = new Map(
    before.map((each) => [each.split('\n', 1)[0] ?? '', each.replace(/^.*\n+/, '').trimEnd()]),
  )
  sections.set(title, text)
  const all = Object.keys(parts).filter((each) => sections.has(each))
  await writeFile(
    FILE,
    `# Figures\n\nWritten by \`npm run bench\`.\n\n${all.map((each) => `## ${each}\n\n${sections.get(each) ?? ''}\n`).join('\n')}`,
  )
}

function build(): void {
  const npm = (cwd: string, ...args: string[]) =>
    execFileSync('npm', args, { cwd, stdio: ['ignore', 'ignore', 'inherit'] })
  npm('.', 'run', 'build')
  npm('.', 'run', 'build:bench')
  if (!existsSync('bench/peers/node_modules')) npm('bench/peers', 'ci')
  npm('bench/peers', 'run', 'build')
}

/** Every measure of every contender, one contender after the other, so that a slow minute of the machine hits all. */
async function compare(): Promise<string> {
  const found = new Map<string, Map<string, number[]>>()
  for (let run = 0; run < Number(runs); run += 1)
    for (const { key, peers, asShipped, measure } of MEASURES)
      for (const name of ['own', ...peers] as const) {
        await using running = await start(
          name === 'own' ? (asShipped ? AS_SHIPPED : OWN) : PEERS[name],
          upstream.url,
        )
        const figures = await measure(running, upstream)
        note(`${key}, ${running.contender.name}: ${JSON.stringify(figures)}`)
        const of = found.get(name) ?? new Map<string, number[]>()
        found.set(name, of)
        for (const [figure, value] of Object.entries(figures))
          of.set(figure, [...(of.get(figure) ?? []), value])
      }
  const medians = [...found].map(([name, figures]) => [
    name,
    Object.fromEntries([...figures].map(([figure, values]) => [figure, median(values)])),
  ])
  return toComparison(Object.fromEntries(medians) as Parameters<typeof toComparison>[0])
}

/** What a subscriber and an event cost, and how soon an event is there, as subscribers become more. */
async function grow(): Promise<string> {
  const rows: number[][] = []
  for (const size of SIZES) {
    const { resident, heap } = await alone(OWN, (running) => memoryPerSubscription(running, size - 200, 200))
    const { cpuMicros } = await alone(OWN, (running) =>
      events(running, { subscribers: size, distinct: true }),
    )
    const times = await alone(OWN, (running) =>
      callbackToSubscriberMs(running, { warm: 250, count: 750, idle: size - 1_000 }),
    )
    rows.push([size, resident, heap, cpuMicros, quantile(times, 0.5), quantile(times, 0.99)])
    note(`growth: ${rows.at(-1)?.join(' ')}`)
  }
  const against = (name: string, column: number): Series => ({
    name,
    points: rows.map((row) => [row[0] ?? 0, row[column] ?? 0] as const),
  })
  const xTitle = 'subscribers, each of a task of its own'
  const plot = toSvg([
    { title: 'Callback → subscriber, ms', xTitle, series: [against('p50', 4), against('p99', 5)] },
    { title: 'CPU for one event, µs', xTitle, series: [against('µs per event', 3)] },
    {
      title: 'Memory per idle subscription, bytes',
      xTitle,
      series: [against('resident', 1), against('heap', 2)],
    },
  ])
  const heads = [
    'subscribers',
    'resident bytes per subscription',
    'heap bytes per subscription',
    'CPU µs per event',
    'latency p50 ms',
    'latency p99 ms',
  ]
  await writeFile('bench/figures.svg', plot)
  const table = toTable(
    heads,
    rows.map(([size = 0, ...rest]) => [size.toLocaleString('en'), ...rest]),
  )
  const spread = (column: number) => {
    const values = rows.map((row) => row[column] ?? NaN)
    return judge(Math.max(...values) / Math.min(...values), 1.2)
  }
  return `${table}\n\nLargest ÷ smallest (bar: below 1.2): heap bytes ${spread(2)}, CPU for an event ${spread(3)}.`
}

function judge(ratio: number, below: number): string {
  return `${ratio.toFixed(2)} ${ratio < below ? '✓' : '✗'}`
}

/** The same figures with an empty store and a full one, in turn. */
async function fill(): Promise<string> {
  const measures: Record<string, (running: Running) => Promise<number>> = {
    'callbacks settled/s': callbacksPerSecond,
    'CPU µs per event': async (running) =>
      (await events(running, { subscribers: 5_000, distinct: true })).cpuMicros,
    'mutations/s': (running) => mutationsPerSecond(running, upstream),
    'own share p50 ms': async (running) => quantile(await ownShareMs(running, upstream), 0.5),
    'latency p50 ms': async (running) => quantile(await callbackToSubscriberMs(running), 0.5),
  }
  const rows: (string | number)[][] = []
  for (const [name, measure] of Object.entries(measures)) {
    const found: Record<number, number[]> = { 0: [], [SETTLED]: [] }
    for (let run = 0; run < Number(runs); run += 1)
      for (const settled of [0, SETTLED]) {
        const value = await alone(OWN, async (running) => {
          for (let made = 0; made < settled; made += 10_000) await running.tasks(10_000, true)
          return await measure(running)
        })
        found[settled]?.push(value)
        note(`${name} with ${settled} settled tasks: ${value}`)
      }
    const [empty, full] = [median(found[0] ?? []), median(found[SETTLED] ?? [])]
    // How many times as bad it is with the full one.
    const worse = name.endsWith('/s') ? empty / full : full / empty
    rows.push([name, empty, full, judge(worse, 1.1)])
  }
  return toTable(['', 'empty', 'full', 'times as bad (bar: below 1.1)'], rows)
}

/** On PostgreSQL, with 1, 2 and 4 replicas; all of them on the contenders' core. */
async function share(): Promise<string> {
  if (TEST_DATABASE_URL === undefined) return 'Left out: TEST_DATABASE_URL was not set.'
  await using limitSchema = await openTestSchema()
  const limit = await repeat(() => alone(barePostgres(limitSchema.url), callbacksPerSecond))
  const sqlite = await repeat(() => alone(OWN, eventsAtOnce))
  note(`callbacks/s, bare: ${limit}; events/s on SQLite: ${sqlite}`)
  const rows: (string | number)[][] = []
  for (const replicas of [1, 2, 4]) {
    await using schema = await openTestSchema()
    const together = async <T>(
      work: (running: readonly [Running, ...Running[]]) => Promise<T>,
      commits: 'here' | 'elsewhere' = 'here',
    ): Promise<T> => {
      const contender = onPostgres(schema.url, commits)
      await using stack = new AsyncDisposableStack()
      const first = stack.use(await start(contender, upstream.url))
      const others: Running[] = []
      while (others.length < replicas - 1) others.push(stack.use(await start(contender, upstream.url)))
      return await work([first, ...others])
    }
    const callbacks = await repeat(() => together(callbacksPerSecond))
    const here = await repeat(() => together(([first]) => eventsAtOnce(first)))
    const elsewhere = await repeat(() => together(([first]) => eventsAtOnce(first), 'elsewhere'))
    const mutations = await together(([first]) => mutationsPerSecond(first, upstream))
    const own = await together(([first]) => ownShareMs(first, upstream))
    const times = await together((all) => callbackToSubscriberMs(all, { warm: 1_000, count: 3_000 }))
    const latencies = [own, times].flatMap((each) => [quantile(each, 0.5), quantile(each, 0.99)])
    rows.push([String(replicas), callbacks, here, elsewhere, mutations, ...latencies])
    note(`replicas: ${rows.at(-1)?.join(' ')}`)
  }
  const table = toTable(
    [
      'replicas',
      'callbacks/s, all together',
      'events/s, committed here',
      'events/s, committed by another',
      'mutations/s, at one',
      'own share p50 ms',
      'p99 ms',
      'latency p50 ms, callback and subscriber at different ones',
      'p99 ms',
    ],
    rows,
  )
  const [, callbacks, here, elsewhere] = (rows[0] ?? []).map(Number)
  const against = (value = NaN, other: number, bar?: number) =>
    `${(value / other).toFixed(2)}${bar === undefined ? '' : ` (bar: ${bar}) ${value / other >= bar ? '✓' : '✗'}`}`
  return `${table}

One replica ÷ a limit:

- callbacks/s ÷ those of bare node:http with one update by \`pg\` for each (${Math.round(limit).toLocaleString('en')}): ${against(callbacks, limit, 0.5)}
- events/s ÷ those on SQLite (${Math.round(sqlite).toLocaleString('en')}): ${against(here, sqlite, 0.8)}; committed by another replica: ${against(elsewhere, sqlite)}`
}

async function eventsAtOnce(running: Running): Promise<number> {
  return (await events(running, { subscribers: 5_000, distinct: true })).perSecond
}

/** The median of as many runs as were asked for. */
async function repeat(work: () => Promise<number>): Promise<number> {
  const found: number[] = []
  while (found.length < Number(runs)) found.push(await work())
  return median(found)
}

async function alone<T>(contender: Contender, work: (running: Running) => Promise<T>): Promise<T> {
  await using running = await start(contender, upstream.url)
  return await work(running)
}
