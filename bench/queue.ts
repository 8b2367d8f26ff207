/**
 * The queue: what its statements cost with few and with many waiting tasks, and a simulation of its fairness
 * and estimates on a moved clock: `npm run bench:queue`. With TEST_DATABASE_URL the statements run on
 * PostgreSQL.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createLocalHints } from '../src/replicas/local-hints.ts'
import { openTestDatabase } from '../test/support/database.ts'
import { newTask } from '../test/support/new-task.ts'
import { LIMIT, simulate, toCoverage, toQuantile, type Simulation } from '../test/support/queue-simulation.ts'

const SIZES = [100, 1_000, 10_000]
const OWNERS = 100
const SAMPLES = 200
const NOW = 1_000_000

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

function show(name: string, value: string): void {
  console.log(`${name.padEnd(60)} ${value}`)
}

async function time(work: (index: number) => Promise<unknown>): Promise<string> {
  const times: number[] = []
  for (let index = 0; index < SAMPLES; index += 1) {
    const startedAt = performance.now()
    await work(index)
    times.push(performance.now() - startedAt)
  }
  return `p50 ${toQuantile(times, 0.5).toFixed(2)} ms, p99 ${toQuantile(times, 0.99).toFixed(2)} ms`
}

async function measureStatements(): Promise<void> {
  await using database = await openTestDatabase()
  await using stores = await database.open(createLocalHints())
  const { store, queueStore } = stores
  let count = 0
  const insert = () => {
    count += 1
    const task = newTask({ owner: `owner ${count % OWNERS}`, queueDueAt: 0, deadlineAt: 2 * NOW })
    return store.insert(task, { queue: { limit: null, weight: 1, full: null } })
  }
  for (const size of SIZES) {
    while (count < size) await insert()
    collect()
    const heapMiB = process.memoryUsage().heapUsed / 2 ** 20
    show(
      `${size} waiting tasks: claim one`,
      await time((index) => queueStore.claimQueued('kie-midjourney', NOW + index, NOW, 1)),
    )
    show(
      `${size} waiting tasks: when the next is due`,
      await time(() => queueStore.nextQueueDueAt('kie-midjourney', NOW)),
    )
    show(`${size} waiting tasks: queue one more`, await time(insert))
    show(`${size} waiting tasks: all places`, await time(() => queueStore.listQueued(10_000)))
    collect()
    const grownMiB = process.memoryUsage().heapUsed / 2 ** 20 - heapMiB
    show(
      `${size} waiting tasks: heap in use`,
      `${heapMiB.toFixed(1)} MiB, after these ${grownMiB.toFixed(1)} more`,
    )
  }
}

function report(name: string, { waits, mostInInterval, starts, ends }: Simulation): void {
  const toSeconds = (share: number) => (owner: string) =>
    Number.isNaN(toQuantile(waits(owner), share)) ? '–' : (toQuantile(waits(owner), share) / 1_000).toFixed(1)
  const owners = ['bob', 'carol', 'alice']
  show(`${name}: wait p50 of bob, carol, alice in s`, owners.map(toSeconds(0.5)).join(', '))
  show(`${name}: wait p95`, owners.map(toSeconds(0.95)).join(', '))
  show(`${name}: most requests in any ${LIMIT.perMs / 1_000} s`, String(mostInInterval))
  const toShare = (estimates: Simulation['ends']) =>
    estimates.length === 0 ? '–' : `${(100 * toCoverage(estimates)).toFixed(1)} % of ${estimates.length}`
  show(`${name}: sent by estimatedStartAt`, toShare(starts))
  show(`${name}: settled by estimatedDoneAt`, toShare(ends))
}

await measureStatements()
const albums = [0, 300_000, 600_000, 900_000].flatMap((atMs) =>
  ['bob', 'carol'].map((owner) => ({ atMs, owner, pictures: 100 })),
)
report('albums of 100', await simulate(albums, 1))
const flood = { atMs: 240_000, owner: 'alice', pictures: 1_000 }
report('albums of 100 and a flood of 1,000', await simulate([...albums, flood], 1))
const singles = Array.from({ length: 60 }, (_, index) => ({
  atMs: index * 10_000,
  owner: 'bob',
  pictures: 1,
}))
report('single tasks', await simulate(singles, 1))
report('single tasks and a flood of 1,000', await simulate([...singles, { ...flood, atMs: 0 }], 1))
