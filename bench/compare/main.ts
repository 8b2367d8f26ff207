/**
 * Ours beside its peers, in tables and a plot: `npm run bench -- --help`.
 * bench/README.md describes methods and results.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { openTestSchema, TEST_DATABASE_URL } from '../../test/support/postgres.ts'
import { alone, note, type BenchRun } from './bench-run.ts'
import { pinLoad, PINNED, start, type Running } from './contender.ts'
import { AS_SHIPPED, barePostgres, onPostgres, OWN, PEERS } from './contenders.ts'
import { growInSubscribers } from './growth-in-subscribers.ts'
import { growInTasks } from './growth-in-tasks.ts'
import {
  callbacksPerSecond,
  callbackToSubscriberMs,
  events,
  median,
  mutationsPerSecond,
  ownShareMs,
  quantile,
} from './measures.ts'
import { MEASURES } from './plan.ts'
import { toComparison, toTable } from './report.ts'
import { startStubUpstream } from './upstream.ts'
import { parseArguments, TABLES, USAGE, type Order, type Table } from './usage.ts'
import { pay } from './user-cost.ts'

const FILE = 'bench/figures.md'
const order = readOrder()
const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}`
const pinned = PINNED ? 'contender and load pinned to a core each' : 'not pinned: no taskset here'

build()
pinLoad()
await using upstream = await startStubUpstream()
const bench: BenchRun = { upstream, runs: order.runs }
const parts: Record<Table, () => Promise<string>> = {
  'Ours beside its peers': compare,
  'Growth: subscribers': () => growInSubscribers(bench),
  'Growth: settled tasks in the store': () => growInTasks(bench),
  'PostgreSQL as store, and replicas': share,
  'What a user pays': () => pay(bench),
}
for (const title of order.tables) await write(title, await parts[title]())
process.exit()

/** Ends the process if there is nothing to measure. */
function readOrder(): Order {
  const parsed = parseArguments(process.argv.slice(2))
  if (parsed === 'help') {
    console.log(USAGE)
    process.exit()
  }
  if ('refusal' in parsed) {
    console.error(`${parsed.refusal}\n\n${USAGE}`)
    process.exit(2)
  }
  return parsed
}

/** Replaces the table's section in figures.md. */
async function write(title: Table, found: string): Promise<void> {
  const today = new Date().toISOString().slice(0, 10)
  const text = `Measured on ${today}: ${machine}, ${pinned}, ${order.runs} run(s).\n\n${found}`
  console.log(`\n## ${title}\n\n${text}`)
  const before = existsSync(FILE) ? (await readFile(FILE, 'utf8')).split(/^## /m).slice(1) : []
  const sections = new Map(
    before.map((each) => [each.split('\n', 1)[0] ?? '', each.replace(/^.*\n+/, '').trimEnd()]),
  )
  sections.set(title, text)
  const all = TABLES.filter((each) => sections.has(each))
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
  if (!isInstalled('bench/peers')) npm('bench/peers', 'ci')
  npm('bench/peers', 'run', 'build')
}

/** Whether the packages of a folder are those of its lock file. */
function isInstalled(folder: string): boolean {
  const installed = `${folder}/node_modules/.package-lock.json`
  return (
    existsSync(installed) && statSync(installed).mtimeMs >= statSync(`${folder}/package-lock.json`).mtimeMs
  )
}

/**
 * Every measure of every contender, one contender after the other, so that a slow minute of the machine hits
 * all.
 */
async function compare(): Promise<string> {
  const found = new Map<string, Map<string, number[]>>()
  for (let run = 0; run < order.runs; run += 1)
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

/** On PostgreSQL, with 1, 2 and 4 replicas; all of them on the contenders' core. */
async function share(): Promise<string> {
  if (TEST_DATABASE_URL === undefined) return 'Left out: TEST_DATABASE_URL was not set.'
  await using limitSchema = await openTestSchema()
  const limit = await repeat(() => alone(bench, barePostgres(limitSchema.url), callbacksPerSecond))
  const sqlite = await repeat(() => alone(bench, OWN, eventsAtOnce))
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

/** The median of `bench.runs` runs. */
async function repeat(work: () => Promise<number>): Promise<number> {
  const found: number[] = []
  while (found.length < bench.runs) found.push(await work())
  return median(found)
}
