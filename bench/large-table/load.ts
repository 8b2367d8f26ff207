/** The load: submits with callbacks on three replicas that are scraped, as processes of their own. */
import { setTimeout as pause } from 'node:timers/promises'
import { atRate, run, startReplica } from '../replica.ts'
import { json, startScriptedUpstream } from '../../test/support/scripted-upstream.ts'

const REPLICAS = 3
const SCRAPE_EVERY_MS = 15_000
const WARM_SECONDS = 5
const CALL_BACK_AFTER_MS = 500

export interface Times {
  readonly submits: number[]
  readonly callbacks: number[]
  readonly scrapes: number[]
}

const generating = json(200, { code: 200, data: { successFlag: 0 } })

async function startUpstream() {
  const upstream = await startScriptedUpstream()
  const callBackUrls = new Map<string, string>()
  upstream.onLookup = generating
  upstream.onCreate = (response, { body }) => {
    upstream.received.length = 0
    const { callBackUrl } = JSON.parse(body) as { callBackUrl: string }
    const id = callBackUrl.split('/').at(-2) ?? ''
    callBackUrls.set(id, callBackUrl)
    json(200, { code: 200, data: { taskId: `upstream-${id}` } })(response, {
      body,
      method: '',
      path: '',
      headers: {},
      port: 0,
    })
  }
  return Object.assign(upstream, { callBackUrls })
}

/**
 * Runs `perSecond` submits a second for so many seconds. Each callback arrives at another replica than its
 * submit.
 */
export async function applyLoad(databaseUrl: string, perSecond: number, seconds: number): Promise<Times> {
  await using opened = new AsyncDisposableStack()
  const upstream = opened.use(await startUpstream())
  const redisUrl = process.env.TEST_REDIS_URL
  const settings = {
    DATABASE_URL: databaseUrl,
    ...(redisUrl !== undefined && { REDIS_URL: redisUrl }),
    UPSTREAM_URL: upstream.url,
    OWNER_RATE_LIMIT: '1000000/60s',
    UPSTREAM_RATE_LIMIT: '1000000/60s',
    RESULT_INSPECT_MS: '0',
    RESULT_STORE: 'off',
    LOG_LEVEL: 'warn',
  }
  const urls: string[] = []
  for (let n = 0; n < REPLICAS; n += 1) urls.push(opened.use(await startReplica(settings)).url)
  const times: Times = { submits: [], callbacks: [], scrapes: [] }
  const warm: Times = { submits: [], callbacks: [], scrapes: [] }
  const stopped = new AbortController()
  const scraping = Promise.all(urls.map((url) => scrape(url, times.scrapes, stopped.signal)))
  const work = (into: Times) => (n: number) => settle({ urls, n, callBackUrls: upstream.callBackUrls }, into)
  await atRate(perSecond, perSecond * WARM_SECONDS, work(warm))
  await atRate(perSecond, perSecond * seconds, work(times))
  stopped.abort()
  await scraping
  return times
}

async function scrape(url: string, times: number[], signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const startedAt = performance.now()
    await (await fetch(`${url}/metrics`)).text()
    times.push(performance.now() - startedAt)
    await pause(SCRAPE_EVERY_MS, undefined, { signal }).catch(() => undefined)
  }
}

interface Step {
  readonly urls: readonly string[]
  readonly n: number
  readonly callBackUrls: Map<string, string>
}

async function settle({ urls, n, callBackUrls }: Step, times: Times): Promise<void> {
  const query = `mutation { upscaleImage(input: { taskId: "${crypto.randomUUID()}", imageIndex: 0 }) { task { id } problem { code } } }`
  const submittedAt = performance.now()
  const answer = (await run(urls[n % urls.length] ?? '', query)) as {
    data?: { upscaleImage: { task: { id: string } | null } | null }
  }
  times.submits.push(performance.now() - submittedAt)
  const id = answer.data?.upscaleImage?.task?.id
  if (id === undefined) throw new Error(`A submit failed: ${JSON.stringify(answer)}`)
  await pause(CALL_BACK_AFTER_MS)
  const { pathname } = new URL(callBackUrls.get(id) ?? '')
  callBackUrls.delete(id)
  const data = { taskId: `upstream-${id}`, resultUrls: ['https://example.com/result.png'] }
  const calledAt = performance.now()
  const url = new URL(pathname, urls[(n + 1) % urls.length])
  const { status } = await fetch(url, { method: 'POST', body: JSON.stringify({ code: 200, data }) })
  if (status !== 200) throw new Error(`A callback was answered with ${status}`)
  times.callbacks.push(performance.now() - calledAt)
}
