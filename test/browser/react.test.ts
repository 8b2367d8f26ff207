import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import { launchChromium } from '../support/chromium.ts'
import { startGateway } from '../support/gateway.ts'
import { startSilentProxy } from '../support/proxy.ts'
import { servePage } from '../support/react-page.ts'
import { openScene } from '../support/scene.ts'
import { json } from '../support/scripted-upstream.ts'
import { waitFor } from '../support/wait-for.ts'
import type { ScriptRecord } from './hooks/records.ts'

/** How each script of docs/sandbox.md ends: a code, or null for a success. */
const OUTCOMES: Readonly<Record<string, string | null>> = {
  'my-picture': null,
  'sandbox-code-400': 'UPSTREAM_BAD_REQUEST',
  'sandbox-code-401': 'UPSTREAM_UNAUTHORIZED',
  'sandbox-code-402': 'INSUFFICIENT_CREDITS',
  'sandbox-code-404': 'UPSTREAM_NOT_FOUND',
  'sandbox-code-408': 'UPSTREAM_TIMEOUT',
  'sandbox-code-422': 'UPSTREAM_VALIDATION_FAILED',
  'sandbox-code-429': 'UPSTREAM_RATE_LIMITED',
  'sandbox-code-433': 'KEY_QUOTA_EXCEEDED',
  'sandbox-code-455': 'UPSTREAM_MAINTENANCE',
  'sandbox-code-500': 'UPSTREAM_SERVER_ERROR',
  'sandbox-code-501': 'GENERATION_FAILED',
  'sandbox-code-505': 'FEATURE_DISABLED',
  'sandbox-http-429': 'UPSTREAM_RATE_LIMITED',
  'sandbox-busy-2': 'UPSTREAM_RATE_LIMITED',
  'sandbox-callback-501': 'GENERATION_FAILED',
  'sandbox-callback-422': 'UPSTREAM_VALIDATION_FAILED',
  'sandbox-lost': null,
  'sandbox-duplicate': null,
  'sandbox-late-8': null,
  'sandbox-early': null,
  'sandbox-hang': null,
  'sandbox-reset': null,
  'sandbox-no-id': null,
  'sandbox-html-502': null,
  'sandbox-html-503': 'UPSTREAM_MAINTENANCE',
  'sandbox-empty-502': null,
  'sandbox-empty-429': 'UPSTREAM_RATE_LIMITED',
  'sandbox-empty': null,
  'sandbox-html': 'UPSTREAM_OUTCOME_UNKNOWN',
}
/** The codes of refusals after which nothing can have been charged: docs/errors.md. */
const FREED = [
  'UPSTREAM_TIMEOUT',
  'UPSTREAM_RATE_LIMITED',
  'KEY_QUOTA_EXCEEDED',
  'UPSTREAM_MAINTENANCE',
  'UPSTREAM_SERVER_ERROR',
  'GENERATION_FAILED',
]
const VERSIONS = [18, 19] as const
const CUT_EVERY_MS = 5_000

let browser: Browser
beforeAll(async () => {
  browser = await launchChromium()
})
afterAll(async () => {
  await browser.close()
})

/** A page of its own, whose console errors fail the test at its end. */
async function openPage(url: URL) {
  const context = await browser.newContext()
  const page = await context.newPage()
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(error.message))
  await page.goto(url.href)
  return {
    context,
    page,
    async [Symbol.asyncDispose]() {
      await context.close()
      expect(errors).toEqual([])
    },
  }
}

const see = (page: Page, id: string, value: string) =>
  page
    .locator(`#${id}`)
    .filter({ hasText: new RegExp(`^\\s*${value}\\s*$`) })
    .waitFor()

/** A gateway whose pages are of another origin, with an upstream that accepts everything. */
async function openOne(version: 18 | 19) {
  await using opened = new AsyncDisposableStack()
  const server = opened.use(await servePage('one-upscale', version))
  const scene = opened.use(await openScene({ CORS_ORIGINS: server.origin }))
  const proxy = opened.use(await startSilentProxy(scene.gateway.url))
  const url = new URL(server.origin)
  url.searchParams.set('url', `${new URL(proxy.url).origin}/graphql`)
  const { context, page } = opened.use(await openPage(url))
  const rest = opened.move()
  return {
    scene,
    proxy,
    context,
    page,
    url,
    /** The upstream's callback about the task that the page has submitted. */
    async succeed() {
      const { callBackUrl } = JSON.parse(scene.upstream.received.at(-1)?.body ?? '') as {
        callBackUrl: string
      }
      const data = { taskId: 'upstream-1', resultUrls: ['https://example.com/result.png'] }
      await fetch(callBackUrl, { method: 'POST', body: JSON.stringify({ code: 200, data }) })
    },
    countStreams: async () =>
      /^upscale_subscriptions_open (\d+)$/m.exec(
        await (await fetch(`${scene.gateway.url}/metrics`)).text(),
      )?.[1],
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

describe.each(VERSIONS)('the hooks in React %d, in StrictMode', (version) => {
  test('settle once, in order, for all scripts, behind a proxy that cuts connections every 5 s', async () => {
    await using server = await servePage('all-scripts', version)
    await using gateway = await startGateway(
      {
        CORS_ORIGINS: server.origin,
        // The answers of 30 submits at once may take long on a busy machine.
        UPSTREAM_TIMEOUT_MS: '8000',
        POLL_INTERVAL_MS: '1000',
        TASK_DEADLINE_MS: '20000',
      },
      { sandboxCompleteAfterMs: 2_000 },
    )
    await using proxy = await startSilentProxy(gateway.url)
    let cut = Promise.withResolvers<void>()
    const timer = setInterval(() => {
      proxy.leadTo(gateway.url)
      cut.resolve()
      cut = Promise.withResolvers()
    }, CUT_EVERY_MS)
    const url = new URL(server.origin)
    url.searchParams.set('url', new URL('/graphql', proxy.url.replace('http', 'ws')).href)
    for (const script of Object.keys(OUTCOMES)) url.searchParams.append('script', script)
    await using opened = await openPage(url)
    const { page } = opened
    const sockets: string[] = []
    page.on('websocket', (socket) => sockets.push(socket.url()))
    const readRecords = () => page.evaluate<Record<string, ScriptRecord>>('records')
    const haveEnded = 'Object.values(records).every(({ ends }) => ends.length > 0)'
    await page.waitForFunction(haveEnded, undefined, { timeout: 90_000 })
    // Nothing is open any more, and nothing is opened again.
    await waitFor(() => proxy.count() === 0)
    const before = sockets.length
    await cut.promise
    expect(sockets).toHaveLength(before)
    clearInterval(timer)
    const records = await readRecords()
    const codes = Object.fromEntries(Object.entries(records).map(([script, { code }]) => [script, code]))
    expect(codes).toEqual(OUTCOMES)
    for (const [script, { versions, statuses, settled, ends }] of Object.entries(records)) {
      const hasTask = versions.length > 0
      expect([script, settled.length]).toEqual([script, hasTask ? 1 : 0])
      expect(new Set(ends).size).toBe(1)
      expect(versions).toEqual(versions.toSorted((a, b) => a - b))
      expect([script, statuses.at(-1)]).toEqual([script, OUTCOMES[script] === null ? 'SUCCEEDED' : 'FAILED'])
      expect(statuses).toEqual([...new Set(statuses)])
    }
    // Two mounts and lost answers, one paid task. A refusal that frees its key is sent again after a lost
    // answer.
    const { data } = await gateway.run<
      { upscaleTasks: { edges: { node: { source: { id: string } } }[] } },
      Record<string, never>
    >('HTTP', '{ upscaleTasks(first: 100) { edges { node { source { id } } } } }')
    const sources = data?.upscaleTasks.edges.map(({ node }) => node.source.id) ?? []
    const repeated = sources.filter((id, index) => sources.indexOf(id) !== index)
    expect(repeated.filter((id) => !FREED.includes(OUTCOMES[id] ?? ''))).toEqual([])
  }, 120_000)

  test('resume after a reload and after a new mount, and settle once', async () => {
    await using one = await openOne(version)
    const { page } = one
    await page.click('text=Upscale')
    await see(page, 'status', 'PROCESSING')
    expect(new URL(page.url()).searchParams.get('upscale')).toMatch(/\.2$/)
    await page.click('text=Toggle')
    await waitFor(async () => (await one.countStreams()) === '0')
    await page.click('text=Toggle')
    await see(page, 'connection', 'live')
    await page.reload()
    await see(page, 'connection', 'live')
    await see(page, 'version', '2')
    await see(page, 'elapsed', '[1-9]\\d*')
    await one.succeed()
    await see(page, 'status', 'SUCCEEDED')
    await page.reload()
    await see(page, 'status', 'SUCCEEDED')
    await see(page, 'connection', 'idle')
    expect(await page.evaluate("sessionStorage.getItem('settled')")).toBe('1')
  })

  test('send a submit again after a reload in the middle of it, but not from a link', async () => {
    await using one = await openOne(version)
    const { page, scene } = one
    const answers: (() => void)[] = []
    scene.upstream.onCreate = (response, request) =>
      answers.push(() => json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request))
    await page.click('text=Upscale')
    await waitFor(() => answers.length === 1)
    await page.reload()
    await see(page, 'status', 'SUBMITTING')
    answers[0]?.()
    await see(page, 'status', 'PROCESSING')
    const link = new URL(one.url)
    link.searchParams.set('upscale', JSON.stringify({ key: 'k', input: { taskId: 'other', imageIndex: 0 } }))
    await page.goto(link.href)
    await see(page, 'problem', 'TASK_NOT_FOUND')
    expect(answers).toHaveLength(1)
  })

  test('show that they wait while offline, and reconnect at once', async () => {
    await using one = await openOne(version)
    const { page, context } = one
    await page.click('text=Upscale')
    await see(page, 'connection', 'live')
    await context.setOffline(true)
    await see(page, 'connection', 'waiting')
    await one.succeed()
    await context.setOffline(false)
    await see(page, 'status', 'SUCCEEDED')
  })

  test('replace a dead stream when the page returns from the back/forward cache', async () => {
    await using one = await openOne(version)
    const { page, proxy } = one
    await page.click('text=Upscale')
    await see(page, 'connection', 'live')
    proxy.silence()
    await one.succeed()
    const before = performance.now()
    await page.evaluate("void dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    await see(page, 'status', 'SUCCEEDED')
    expect(performance.now() - before).toBeLessThan(10_000)
  })

  test('follow a task of another page by its id', async () => {
    await using one = await openOne(version)
    const { id, succeed } = await one.scene.submit()
    const link = new URL(one.url)
    link.searchParams.set('id', id)
    await one.page.goto(link.href)
    await see(one.page, 'status', 'PROCESSING')
    await succeed()
    await see(one.page, 'status', 'SUCCEEDED')
    await waitFor(async () => (await one.countStreams()) === '0')
    link.searchParams.set('id', 'unknown')
    await one.page.goto(link.href)
    await see(one.page, 'status', 'IDLE TASK_NOT_FOUND')
  })
})
