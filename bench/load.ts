/**
 * The load that one replica holds on PostgreSQL (or on SQLite, without TEST_DATABASE_URL), two cores shared
 * with the load itself: `TEST_DATABASE_URL=postgres://… tsx bench/load.ts [callbacks|burst|reconnect]`; all
 * without an argument. Needs `npm run build`. Figures stand in docs/operations.md.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { withReplica } from './load-target.ts'
import { atRate, many, quantiles } from './replica.ts'

const tally = (statuses: readonly number[]) =>
  [...Map.groupBy(statuses, (status) => status)]
    .map(([status, all]) => `${all.length} × ${status}`)
    .join(', ')

async function callbacks(): Promise<void> {
  await withReplica(null, async ({ submit }) => {
    const seconds = 60
    const tasks = await many(300 * seconds, 16, submit)
    const startedAt = performance.now()
    const answers = await atRate(300, tasks.length, (n) => (tasks[n] ?? never()).callBack())
    const rate = answers.length / ((performance.now() - startedAt) / 1_000)
    console.log(
      `callbacks at ${rate.toFixed(0)} a second for ${seconds} s: ${quantiles(answers.map(({ ms }) => ms))}; ${tally(answers.map(({ status }) => status))}`,
    )
  })
}

async function burst(): Promise<void> {
  await withReplica(null, async ({ url, submit }) => {
    const tasks = await many(2_000, 16, submit)
    const answers = await atRate(1_000, tasks.length, (n) => (tasks[n] ?? never()).callBack())
    const taken = tasks.filter((_, n) => answers[n]?.status === 200)
    const lost = await many(taken.length, 16, async (n) => {
      const body = JSON.stringify({ query: `{ upscaleTask(id: "${taken[n]?.id}") { status } }` })
      const headers = { 'content-type': 'application/json' }
      const response = await fetch(`${url}/graphql`, { method: 'POST', headers, body })
      return !(await response.text()).includes('SUCCEEDED')
    })
    console.log(
      `2,000 callbacks in 2 s: ${quantiles(answers.map(({ ms }) => ms))}; ${tally(answers.map(({ status }) => status))}; of the 200s lost: ${lost.filter(Boolean).length}`,
    )
  })
}

/** A socket that follows one task; resolves when it has its state. */
function follow(url: string, id: string) {
  const shown = Promise.withResolvers<void>()
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 10,
    shouldRetry: () => true,
  })
  client.subscribe(
    { query: `subscription { taskUpdated(id: "${id}") { status } }` },
    { next: () => shown.resolve(), error: () => undefined, complete: () => undefined },
  )
  return { shown: shown.promise, client }
}

async function reconnect(): Promise<void> {
  await withReplica(null, async ({ url, submit }) => {
    const tasks = await many(2_000, 16, submit)
    for (const round of ['first', 'again']) {
      const startedAt = performance.now()
      const all = tasks.map(({ id }) => follow(url, id))
      const times = await Promise.all(all.map(({ shown }) => shown.then(() => performance.now() - startedAt)))
      console.log(
        `2,000 sockets at once, ${round}: all have their state after ${(Math.max(...times) / 1_000).toFixed(1)} s`,
      )
      for (const { client } of all) void client.dispose()
      await pause(1_000)
    }
  })
}

function never(): never {
  throw new Error('unreachable')
}

const [what] = process.argv.slice(2)
if (what === undefined || what === 'callbacks') await callbacks()
if (what === undefined || what === 'burst') await burst()
if (what === undefined || what === 'reconnect') await reconnect()
process.exit()
