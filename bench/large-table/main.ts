/**
 * A table of 3 million tasks: `TEST_DATABASE_URL=postgres://… [TEST_REDIS_URL=redis://…] npm run bench:large
 * [-- TASKS]`. Prints the plans of the hot statements, and the latency of submits at three replicas beside
 * that on an empty database, in turn. The bar for the p99 of submits is 1.5 times that on the empty database.
 * It needs 8 GB of disk and 15 minutes; with KEEP=on the filled database stays for the next run. PER_SECOND
 * (20), SECONDS (60) and ROUNDS (2) change the load.
 */
import pg from 'pg'
import { createTables, fill } from './fill.ts'
import { applyLoad, type Times } from './load.ts'
import { printPlans } from './plans.ts'
import { quantiles } from '../replica.ts'

const BAR = 1.5
const [LARGE, EMPTY] = ['upscale_bench_large', 'upscale_bench_empty']

const { TEST_DATABASE_URL = '', KEEP = 'off' } = process.env
const count = Number(process.argv[2] ?? 3_000_000)
const [perSecond, seconds, rounds] = [
  ['PER_SECOND', 20],
  ['SECONDS', 60],
  ['ROUNDS', 2],
].map(([name, fallback]) => Number(process.env[String(name)] ?? fallback)) as [number, number, number]

const admin = new pg.Client({ connectionString: TEST_DATABASE_URL })
await admin.connect()
const toUrl = (name: string) => Object.assign(new URL(TEST_DATABASE_URL), { pathname: name }).href
const exists = async (name: string) =>
  (await admin.query('select from pg_database where datname = $1', [name])).rowCount === 1

async function create(name: string): Promise<void> {
  await admin.query(`drop database if exists ${name} with (force)`)
  await admin.query(`create database ${name}`)
  await createTables(toUrl(name))
}

if (!(await exists(LARGE))) {
  await create(LARGE)
  console.log(`filling ${LARGE} with ${count} tasks`)
  await fill(toUrl(LARGE), count)
}
await printPlans(toUrl(LARGE))

const none = (): Times => ({ submits: [], callbacks: [], scrapes: [] })
const all = { [EMPTY]: none(), [LARGE]: none() }
for (let round = 0; round < rounds; round += 1)
  for (const name of [EMPTY, LARGE]) {
    if (name === EMPTY) await create(EMPTY)
    const times = await applyLoad(toUrl(name), perSecond, seconds)
    if (name === EMPTY) await admin.query(`drop database ${EMPTY} with (force)`)
    for (const kind of ['submits', 'callbacks', 'scrapes'] as const) all[name]?.[kind].push(...times[kind])
    console.log(`\nround ${round + 1}, ${name}, ${perSecond} submits a second:`)
    for (const [kind, each] of Object.entries(times)) console.log(`  ${kind}: ${quantiles(each as number[])}`)
  }
const toP99 = (values: readonly number[] = []) =>
  values.toSorted((one, other) => one - other)[Math.ceil(0.99 * values.length) - 1] ?? NaN
const ratio = toP99(all[LARGE]?.submits) / toP99(all[EMPTY]?.submits)
console.log(
  `\nsubmit p99: ${ratio.toFixed(2)} times that of the empty database${ratio > BAR ? `: MISSES ${BAR}` : ''}`,
)
if (ratio > BAR) process.exitCode = 1
if (KEEP !== 'on') await admin.query(`drop database ${LARGE} with (force)`)
await admin.end()
