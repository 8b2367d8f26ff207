/**
 * The load that one replica holds on PostgreSQL, two cores shared with the load itself:
 * `TEST_DATABASE_URL=postgres://… tsx bench/load.ts [callbacks|burst|reconnect|soak MINUTES]`; all but the soak
 * without an argument. Needs `npm run build`. Figures stand in docs/operations.md.
 */
import { readFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { openTestSchema } from '../test/support/postgres.ts'
import { atRate, many, quantiles, run, startReplica } from './replica.ts'
import { json, startScriptedUpstream } from '../test/support/scripted-upstream.ts'

const RESULT = 'https://example.com/result.png'

interface Target {
  readonly url: string
  readonly pid: number
  /** Submits a task; its id, and how to call back about it: the HTTP status and how long it took. */
  submit(): Promise<{ id: string; callBack(): Promise<{ status: number; ms: number }> }>
}

async function withReplica(work: (target: Target) => Promise<void>): Promise<void> {
  await using schema = await openTestSchema()
  await using upstream = await startScriptedUpstream()
  let created = 0
  const accepted = new Map<string, { taskId: string; callBackUrl: string }>()
  upstream.onCreate = (response, request) => {
    upstream.received.length = 0
    const taskId = `upstream-${(created += 1)}`
    const { callBackUrl } = JSON.parse(request.body) as { callBackUrl: string }
    accepted.set(callBackUrl.split('/').at(-2) ?? '', { taskId, callBackUrl })
    json(200, { code: 200, data: { taskId } })(response, request)
  }
  await using service = await startReplica({
    DATABASE_URL: schema.url,
    UPSTREAM_URL: upstream.url,
    OWNER_RATE_LIMIT: '0',
    UPSTREAM_RATE_LIMIT: '0',
    OWNER_SOCKET_LIMIT: '0',
    POLL_INTERVAL_MS: '3600000',
    TASK_DEADLINE_MS: '7200000',
    LOG_LEVEL: 'warn',
  })
  const query =
    'mutation { upscaleImage(input: {taskId: "load", imageIndex: 0, force: true}) { task { id } } }'
  await work({
    url: service.url,
    pid: service.pid,
    async submit() {
      const { data } = (await run(service.url, query)) as { data: { upscaleImage: { task: { id: string } } } }
      const { id } = data.upscaleImage.task
      const { taskId, callBackUrl } = accepted.get(id) ?? { taskId: '', callBackUrl: '' }
      accepted.delete(id)
      const body = JSON.stringify({ code: 200, data: { taskId, resultUrls: [RESULT] } })
      return {
        id,
        async callBack() {
          const startedAt = performance.now()
          const response = await fetch(callBackUrl, { method: 'POST', body })
          await response.arrayBuffer()
          return { status: response.status, ms: performance.now() - startedAt }
        },
      }
    },
  })
}

const tally = (statuses: readonly number[]) =>
  [...Map.groupBy(statuses, (status) => status)]
    .map(([status, all]) => `${all.length} × ${status}`)
    .join(', ')

async function callbacks(): Promise<void> {
  await withReplica(async ({ submit }) => {
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
  await withReplica(async ({ url, submit }) => {
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
  await withReplica(async ({ url, submit }) => {
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

async function soak(minutes: number): Promise<void> {
  await withReplica(async ({ url, pid, submit }) => {
    const heap = async () => {
      const text = await (await fetch(`${url}/metrics`)).text()
      const read = (name: string) => Number(new RegExp(`^${name} (.+)`, 'm').exec(text)?.[1]) / 1_048_576
      return `heap ${read('nodejs_heap_size_used_bytes').toFixed(0)}, external ${read('nodejs_external_memory_bytes').toFixed(0)}, sockets ${/^upscale_sockets_open (\d+)/m.exec(text)?.[1]}`
    }
    const rss = async () =>
      Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1_024
    const samples: { minute: number; mib: number }[] = []
    const failed = { callbacks: 0, connects: 0 }
    const startedAt = performance.now()
    const minute = () => (performance.now() - startedAt) / 60_000
    const sampling = setInterval(() => {
      void rss().then((mib) => {
        samples.push({ minute: minute(), mib })
        if (samples.length % 6 === 0)
          void heap().then((text) => {
            console.log(`  minute ${minute().toFixed(1)}: ${mib.toFixed(1)} MiB (${text})`)
          })
      })
    }, 10_000)
    await Promise.all([
      atRate(100, 100 * 60 * minutes, async () => {
        const task = await submit().catch(() => undefined)
        if ((await task?.callBack())?.status !== 200) failed.callbacks += 1
      }),
      atRate(20, 20 * 60 * minutes, async () => {
        const id = (await submit().catch(() => undefined))?.id ?? ''
        const { shown, client } = follow(url, id)
        const inTime = await Promise.race([shown.then(() => true), pause(10_000, false)])
        if (!inTime) failed.connects += 1
        await pause(5_000)
        void client.dispose()
      }),
    ])
    clearInterval(sampling)
    const late = samples.filter(({ minute }) => minute > 10)
    console.log(
      `soak of ${minutes} minutes: memory grows by ${slope(late).toFixed(2)} MiB a minute after the tenth; failed ${JSON.stringify(failed)}`,
    )
  })
}

/** Least squares, in MiB a minute. */
function slope(samples: readonly { minute: number; mib: number }[]): number {
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [x, y] = [mean(samples.map(({ minute }) => minute)), mean(samples.map(({ mib }) => mib))]
  const covariance = mean(samples.map(({ minute, mib }) => (minute - x) * (mib - y)))
  return covariance / mean(samples.map(({ minute }) => (minute - x) ** 2))
}

function never(): never {
  throw new Error('unreachable')
}

const [what, argument] = process.argv.slice(2)
if (what === undefined || what === 'callbacks') await callbacks()
if (what === undefined || what === 'burst') await burst()
if (what === undefined || what === 'reconnect') await reconnect()
if (what === 'soak') await soak(Number(argument ?? 30))
process.exit()
