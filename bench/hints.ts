/**
 * How soon a subscriber at one replica sees what a callback to another has committed, at 200 settlements a
 * second, by both kinds of hints; and how many hints each replica hears as the fleet grows:
 * `TEST_DATABASE_URL=… TEST_REDIS_URL=… tsx bench/hints.ts`. Needs `npm run build`.
 */
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { openTestSchema } from '../test/support/postgres.ts'
import { TEST_REDIS_URL } from '../test/support/redis.ts'
import { json, startScriptedUpstream } from '../test/support/scripted-upstream.ts'
import { atRate, many, quantiles, run, startReplica } from './replica.ts'

const PER_SECOND = 200
const TASKS = 2_000

async function measure(kind: 'PostgreSQL' | 'Redis', replicas: number): Promise<void> {
  await using schema = await openTestSchema()
  await using upstream = await startScriptedUpstream()
  let created = 0
  const callBackUrls = new Map<string, { taskId: string; path: string }>()
  upstream.onCreate = (response, request) => {
    const taskId = `upstream-${(created += 1)}`
    const { callBackUrl } = JSON.parse(request.body) as { callBackUrl: string }
    const path = new URL(callBackUrl).pathname
    callBackUrls.set(path.split('/').at(-2) ?? '', { taskId, path })
    json(200, { code: 200, data: { taskId } })(response, request)
  }
  const settings = {
    DATABASE_URL: schema.url,
    ...(kind === 'Redis' && { REDIS_URL: TEST_REDIS_URL ?? '' }),
    UPSTREAM_URL: upstream.url,
    OWNER_RATE_LIMIT: '0',
    UPSTREAM_RATE_LIMIT: '0',
    SOCKET_OPERATION_LIMIT: '0',
    POLL_INTERVAL_MS: '3600000',
    LOG_LEVEL: 'warn',
  }
  await using fleet = new AsyncDisposableStack()
  const urls: string[] = []
  for (let n = 0; n < replicas; n += 1) urls.push(fleet.use(await startReplica(settings)).url)
  const urlOf = (n: number) => urls[n % urls.length] ?? ''
  const query = 'mutation { upscaleImage(input: {taskId: "t", imageIndex: 0, force: true}) { task { id } } }'
  const ids = await many(TASKS, 16, async (n) => {
    const { data } = (await run(urlOf(n), query)) as { data: { upscaleImage: { task: { id: string } } } }
    return data.upscaleImage.task.id
  })
  const clients = urls.map((url) =>
    createClient({ url: `${url.replace('http', 'ws')}/graphql`, webSocketImpl: WebSocket, lazy: false }),
  )
  const sentAt = new Map<string, number>()
  const delays: number[] = []
  // Each task is watched at one replica, and called back about at the next.
  const watching = ids.map((id, n) => {
    const shown = Promise.withResolvers<void>()
    const ended = Promise.withResolvers<void>()
    clients[n % clients.length]?.subscribe<{ taskUpdated: { status: string } }>(
      { query: `subscription { taskUpdated(id: "${id}") { status } }` },
      {
        next: ({ data }) => {
          shown.resolve()
          if (data?.taskUpdated.status === 'SUCCEEDED')
            delays.push(performance.now() - (sentAt.get(id) ?? NaN))
        },
        error: ended.reject,
        complete: ended.resolve,
      },
    )
    return { shown: shown.promise, ended: ended.promise }
  })
  await Promise.all(watching.map(({ shown }) => shown))
  const before = await Promise.all(urls.map(countHints))
  const startedAt = performance.now()
  await atRate(PER_SECOND, TASKS, async (n) => {
    const id = ids[n] ?? ''
    const { taskId, path } = callBackUrls.get(id) ?? { taskId: '', path: '' }
    const body = JSON.stringify({ code: 200, data: { taskId, resultUrls: ['https://example.com/x.png'] } })
    sentAt.set(id, performance.now())
    await (await fetch(urlOf(n + 1) + path, { method: 'POST', body })).arrayBuffer()
  })
  const seconds = (performance.now() - startedAt) / 1_000
  await Promise.all(watching.map(({ ended }) => ended))
  const after = await Promise.all(urls.map(countHints))
  const heard = after.map((count, n) => ((count - (before[n] ?? 0)) / seconds).toFixed(0))
  console.log(
    `${kind}, ${replicas} replicas, ${(TASKS / seconds).toFixed(0)} settlements a second: callback to event ${quantiles(delays)}; hints heard a second by each: ${heard.join(', ')}`,
  )
  for (const client of clients) await client.dispose()
}

/** Hints of other replicas that this one has heard. */
async function countHints(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return Number(/^upscale_hint_lag_seconds_count (\d+)/m.exec(text)?.[1] ?? 0)
}

for (const kind of ['PostgreSQL', 'Redis'] as const)
  for (const replicas of [1, 2, 4]) await measure(kind, replicas)
process.exit()
