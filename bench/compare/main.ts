/**
 * Ours beside its peers, in tables and a plot: `npm run bench`, `npm run bench -- 3` for three runs of the comparison.
 * How it is measured, and what came out, stands in bench/README.md.
 */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { openTestSchema, TEST_DATABASE_URL } from '../../test/support/postgres.ts'
import { pinLoad, PINNED, start, type Contender, type Running } from './contender.ts'
import { onPostgres, OWN, PEERS } from './contenders.ts'
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
const runs = Number(process.argv[2] ?? 1)

build()
pinLoad()
await using upstream = await startStubUpstream()
const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}`
const pinned = PINNED ? 'contender and load pinned to a core each' : 'not pinned: no taskset here'
const today = new Date().toISOString().slice(0, 10)
const sections = [
  `# Figures\n\nWritten by \`npm run bench\` on ${today}: ${machine}, ${pinned}, ${runs} run(s) of the comparison.`,
]
const say = async (title: string, text: string) => {
  sections.push(`## ${title}\n\n${text}`)
  console.log(`\n## ${title}\n\n${text}`)
  await writeFile('bench/figures.md', `${sections.join('\n\n')}\n`)
}
const note = (text: string) => console.error(`${new Date().toISOString().slice(11, 19)} ${text}`)

await say('Ours beside its peers', await compare())
const { table, plot } = await grow()
await writeFile('bench/figures.svg', plot)
await say('Growth: subscribers', table)
await say(`Growth: ${SETTLED.toLocaleString('en')} settled tasks in the store`, await fill())
if (TEST_DATABASE_URL === undefined)
  note('PostgreSQL and replicas are left out: TEST_DATABASE_URL is not set')
else await say('PostgreSQL as store, and replicas', await share())
process.exit()

function build(): void {
  const npm = (cwd: string, ...args: string[]) =>
    execFileSync('npm', args, { cwd, stdio: ['ignore', 'ignore', 'inherit'] })
  npm('.', 'run', 'build')
  if (!existsSync('bench/peers/node_modules')) npm('bench/peers', 'ci')
  npm('bench/peers', 'run', 'build')
}

/** Every measure of every contender, one contender after the other, so that a slow minute of the machine hits all. */
async function compare(): Promise<string> {
  const found = new Map<string, Map<string, number[]>>()
  for (let run = 0; run < runs; run += 1)
    for (const { key, peers, measure } of MEASURES)
      for (const name of ['own', ...peers] as const) {
        await using running = await start(name === 'own' ? OWN : PEERS[name], upstream.url)
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
async function grow(): Promise<{ table: string; plot: string }> {
  const rows: number[][] = []
  for (const size of SIZES) {
    const { resident, heap } = await alone(OWN, (running) => memoryPerSubscription(running, size - 200))
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
  return {
    table: toTable(
      heads,
      rows.map(([size = 0, ...rest]) => [size.toLocaleString('en'), ...rest]),
    ),
    plot,
  }
}

/** The same figures with an empty store and a full one. */
async function fill(): Promise<string> {
  const columns: number[][] = []
  for (const settled of [0, SETTLED]) {
    const prepared = <T>(work: (running: Running) => Promise<T>) =>
      alone(OWN, async (running) => {
        for (let made = 0; made < settled; made += 10_000) await running.tasks(10_000, true)
        return await work(running)
      })
    columns.push([
      await prepared(callbacksPerSecond),
      (await prepared((running) => events(running, { subscribers: 5_000, distinct: true }))).cpuMicros,
      await prepared((running) => mutationsPerSecond(running, upstream)),
      quantile(await prepared((running) => ownShareMs(running, upstream)), 0.5),
      quantile(await prepared((running) => callbackToSubscriberMs(running)), 0.5),
    ])
    note(`with ${settled} settled tasks: ${columns.at(-1)?.join(' ')}`)
  }
  const names = [
    'callbacks settled/s',
    'CPU µs per event',
    'mutations/s',
    'own share p50 ms',
    'latency p50 ms',
  ]
  const [empty = [], full = []] = columns
  return toTable(
    ['', 'empty', 'full', 'full ÷ empty'],
    names.map((name, n) => [name, empty[n] ?? NaN, full[n] ?? NaN, (full[n] ?? NaN) / (empty[n] ?? NaN)]),
  )
}

/** On PostgreSQL, with 1, 2 and 4 replicas; all of them on the contenders' core. */
async function share(): Promise<string> {
  const rows: (string | number)[][] = []
  for (const replicas of [1, 2, 4]) {
    await using schema = await openTestSchema()
    const contender = onPostgres(schema.url)
    const together = async <T>(
      work: (running: readonly [Running, ...Running[]]) => Promise<T>,
    ): Promise<T> => {
      await using stack = new AsyncDisposableStack()
      const first = stack.use(await start(contender, upstream.url))
      const others: Running[] = []
      while (others.length < replicas - 1) others.push(stack.use(await start(contender, upstream.url)))
      return await work([first, ...others])
    }
    const callbacks = await together(callbacksPerSecond)
    const { perSecond } = await together(([first]) => events(first, { subscribers: 5_000, distinct: true }))
    const mutations = await together(([first]) => mutationsPerSecond(first, upstream))
    const own = await together(([first]) => ownShareMs(first, upstream))
    const times = await together((all) => callbackToSubscriberMs(all, { warm: 1_000, count: 3_000 }))
    rows.push([
      String(replicas),
      callbacks,
      perSecond,
      mutations,
      ...[own, times].flatMap((each) => [quantile(each, 0.5), quantile(each, 0.99)]),
    ])
    note(`replicas: ${rows.at(-1)?.join(' ')}`)
  }
  return toTable(
    [
      'replicas',
      'callbacks/s, all together',
      'events/s, at one',
      'mutations/s, at one',
      'own share p50 ms',
      'p99 ms',
      'latency p50 ms, callback and subscriber at different ones',
      'p99 ms',
    ],
    rows,
  )
}

async function alone<T>(contender: Contender, work: (running: Running) => Promise<T>): Promise<T> {
  await using running = await start(contender, upstream.url)
  return await work(running)
}
