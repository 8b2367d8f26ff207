import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals'
import { SignJWT } from 'jose'
import type { Browser, Page } from 'playwright-core'
import { launchChromium } from '../support/chromium.ts'
import { buildConsole, openConsole, startConsole, tabTo, untilTrue } from '../support/console.ts'
import { toSnippets } from '../../console/src/try/snippets.ts'
import { checkTypes, runShell, runTypeScript } from '../support/console-snippets.ts'
import { startSilentProxy } from '../support/proxy.ts'
import { waitFor } from '../support/wait-for.ts'

interface UpscaleImages {
  readonly results: readonly unknown[]
}

const SECRET = 'a-secret-of-at-least-thirty-two-bytes'
const NARROW = { width: 360, height: 740 }
/** Fast, but long enough to see what a card says before its end. */
const COMPLETE_AFTER_MS = 300

// Chromium and its pictures share the processors with the other tests.
jest.setTimeout(90_000)

let browser: Browser
/** One for all tests that use only their own source ids. */
let service: Awaited<ReturnType<typeof start>>
beforeAll(async () => {
  await buildConsole()
  browser = await launchChromium()
  service = await start()
})
afterAll(async () => {
  await browser.close()
  await service[Symbol.asyncDispose]()
})

const start = (settings: Record<string, string> = {}) =>
  startConsole(settings, { sandboxCompleteAfterMs: COMPLETE_AFTER_MS })

async function upscale(page: Page, source: string): Promise<void> {
  await page.getByLabel('Midjourney task id').fill(source)
  await page.getByRole('button', { name: /^Upscale \d/ }).click()
}

const cards = (page: Page, status: string) => page.locator(`.try-card[data-status=${status}]`)
/** Waits for the card of this number, from 1, to have a status. */
const untilCard = (page: Page, status: string, number = 1) =>
  cards(page, status)
    .nth(number - 1)
    .waitFor()

async function countTasks({ gateway }: typeof service): Promise<number> {
  const query = '{ upscaleTasks { edges { node { id } } } }'
  const { data } = await gateway.run<{ upscaleTasks: { edges: unknown[] } }, never>('HTTP', query)
  return data?.upscaleTasks.edges.length ?? 0
}

const readIds = (page: Page) =>
  page.evaluate<string[]>(`[...document.querySelectorAll('.try-card')].map(({ dataset }) => dataset.task)`)

describe('the page Try it', () => {
  test('upscales all four pictures and shows each of them, without a layout shift or a request to another host', async () => {
    await using opened = await openConsole(browser, service.url)
    const { page } = opened
    await page.getByText('Paper hills').click()
    await page.getByRole('button', { name: 'Upscale 4 pictures' }).click()
    await untilCard(page, 'SUCCEEDED', 4)
    const picture = page.getByRole('img', { name: /paper-hills · \d, upscaled/ })
    expect(await picture.count()).toBe(4)
    await untilTrue(
      page,
      `[...document.querySelectorAll('.try-media img')].every((image) => image.complete && image.naturalWidth > 0)`,
    )
    // On a busy machine a task succeeds before its picture is measured; the card is completed later.
    for (const fact of ['1024 × 1024', '× 4', 'Never expires'])
      await page.getByText(fact, { exact: true }).nth(3).waitFor()
    expect(await opened.readLayoutShift()).toBeLessThan(0.05)
    expect(opened.problems).toEqual([])
  })

  test('shows its first content within a second', async () => {
    const paints: number[] = []
    // The fastest of three visits: other processes may take the processor from any of them.
    for (let visit = 0; visit < 3; visit += 1) {
      await using opened = await openConsole(browser, service.url)
      await opened.page.getByRole('heading', { name: 'Try it' }).waitFor()
      const read = `performance.getEntriesByName('first-contentful-paint')[0].startTime`
      paints.push(await opened.page.evaluate<number>(read))
    }
    expect(Math.min(...paints)).toBeLessThan(1_000)
  })

  test('shows a refusal with its code, text and correlation id, and offers no retry that cannot help', async () => {
    await using opened = await openConsole(browser, service.url)
    await opened.page.getByRole('button', { name: 'No credits' }).click()
    await opened.page.getByRole('button', { name: 'None' }).click()
    await opened.page.getByLabel('Picture 2').check({ force: true })
    await opened.page.getByRole('button', { name: 'Upscale 1 picture' }).click()
    await untilCard(opened.page, 'FAILED')
    const card = opened.page.locator('.try-card')
    expect(await card.innerText()).toMatch(/Refused[\s\S]*INSUFFICIENT_CREDITS[\s\S]*too few credits/)
    await card.getByRole('button', { name: 'Copy the correlation id' }).waitFor()
    expect(await card.getByRole('button', { name: 'Retry' }).count()).toBe(0)
    expect(opened.problems).toEqual([])
  })

  test('retries a failed picture as a new task', async () => {
    await using opened = await openConsole(browser, service.url)
    await opened.page.getByRole('button', { name: 'None' }).click()
    await opened.page.getByLabel('Picture 1').check({ force: true })
    await upscale(opened.page, 'sandbox-callback-501')
    await untilCard(opened.page, 'FAILED')
    const card = opened.page.locator('.try-card')
    const first = await card.getAttribute('data-task')
    await card.getByRole('button', { name: 'Retry' }).click()
    await opened.page.locator(`.try-card[data-status=FAILED]:not([data-task="${first}"])`).waitFor()
    expect(await card.count()).toBe(1)
    expect(opened.problems).toEqual([])
  })

  test('cancels a picture that waits in the queue', async () => {
    await using opened = await openConsole(browser, service.url)
    await opened.page.getByRole('button', { name: 'None' }).click()
    await opened.page.getByLabel('Picture 1').check({ force: true })
    await upscale(opened.page, 'sandbox-busy-99')
    await cards(opened.page, 'SUBMITTED').getByText('Waiting, number 1', { exact: true }).waitFor()
    await opened.page.getByRole('button', { name: 'Cancel' }).click()
    await cards(opened.page, 'FAILED').getByText('CANCELLED', { exact: true }).waitFor()
    expect(opened.problems).toEqual([])
  })

  test('shows the tasks of its URL again after a reload in mid-task', async () => {
    await using opened = await openConsole(browser, service.url)
    const { page } = opened
    await upscale(page, 'sandbox-late-3')
    await untilCard(page, 'PROCESSING', 4)
    const ids = await readIds(page)
    await page.reload()
    await untilCard(page, 'PROCESSING', 4)
    expect(await readIds(page)).toEqual(ids)
    expect(await page.getByLabel('Midjourney task id').inputValue()).toBe('sandbox-late-3')
    await untilCard(page, 'SUCCEEDED', 4)
    expect(opened.problems).toEqual([])
  })

  test('goes on after a reload before the answer to a submit, and pays once', async () => {
    await using service = await start()
    await using proxy = await startSilentProxy(service.url)
    await using opened = await openConsole(browser, proxy.url.replace(/\/$/, ''))
    const { page } = opened
    await page.getByLabel('Midjourney task id').fill('reloaded')
    await page.getByLabel('Picture 4').waitFor({ state: 'attached' })
    // The submit arrives, but its answer does not.
    const isSent = page.waitForRequest((request) => request.postData()?.includes('mutation Upscale') === true)
    await page.route('**/graphql', async (route) => {
      if (route.request().postData()?.includes('mutation Upscale') !== true) await route.continue()
      else await route.fetch({ url: `${service.url}/graphql` })
    })
    await page.getByRole('button', { name: 'Upscale 4 pictures' }).click()
    await isSent
    await waitFor(async () => (await countTasks(service)) === 4)
    await page.unrouteAll({ behavior: 'ignoreErrors' })
    await page.reload()
    await untilCard(page, 'SUCCEEDED', 4)
    expect(await page.getByText('Replayed').count()).toBe(0)
    expect(await countTasks(service)).toBe(4)
    expect(await page.evaluate(`sessionStorage.getItem('upscale-console:pending')`)).toBeNull()
  })

  test('says that it is offline, and catches up when it is back', async () => {
    await using service = await start()
    await using proxy = await startSilentProxy(service.url)
    await using opened = await openConsole(browser, proxy.url.replace(/\/$/, ''))
    const { page } = opened
    await upscale(page, 'sandbox-late-2')
    await untilCard(page, 'PROCESSING', 4)
    await proxy.refuse()
    await page.getByText('The gateway cannot be reached: reconnecting').waitFor()
    // A press while it is offline is sent later, once.
    await page.getByRole('button', { name: 'None' }).click()
    await page.getByLabel('Picture 1').check({ force: true })
    await upscale(page, 'pressed-offline')
    await page.getByText('Sending', { exact: true }).waitFor()
    await proxy.accept()
    await untilCard(page, 'SUCCEEDED', 5)
    await page.getByText('reconnecting').waitFor({ state: 'detached' })
    expect(await countTasks(service)).toBe(5)
    // The browser reports lost connections, and the URLs of pictures lead past the proxy.
    const expected = ['ERR_', `Requested ${service.url}/`]
    expect(opened.problems.filter((problem) => !expected.some((part) => problem.includes(part)))).toEqual([])
  })

  test('says at once that the browser has no network', async () => {
    await using opened = await openConsole(browser, service.url)
    await opened.page.getByRole('heading', { name: 'Try it' }).waitFor()
    await opened.page.context().setOffline(true)
    await opened.page.getByText('Offline: reconnecting', { exact: true }).first().waitFor()
    await opened.page.context().setOffline(false)
    await opened.page.locator('.banner').waitFor({ state: 'detached' })
  })

  test('works with the keyboard only', async () => {
    await using opened = await openConsole(browser, service.url)
    const { page } = opened
    await page.getByRole('heading', { name: 'Try it' }).waitFor()
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    expect(await page.evaluate('document.activeElement.id')).toBe('main')
    await tabTo(page, 'input.input-code')
    await page.keyboard.type('by-keyboard')
    for (const number of [2, 3, 4]) {
      await tabTo(page, `[aria-label="Picture ${number}"]`)
      await page.keyboard.press('Space')
    }
    await tabTo(page, 'button[type=submit]')
    await page.keyboard.press('Enter')
    await untilCard(page, 'SUCCEEDED')
    await tabTo(page, '.compare-range')
    await page.keyboard.press('ArrowRight')
    expect(await page.locator('.compare-range').inputValue()).toBe('51')
    await tabTo(page, 'a[download]')
    expect(opened.problems).toEqual([])
  })

  test('copies code that works: for curl, TypeScript and React', async () => {
    await using opened = await openConsole(browser, service.url)
    const { page } = opened
    await page.getByLabel('Midjourney task id').fill('copied-source')
    await page.getByText('Options').click()
    await page.getByLabel('Watermark').fill(`it's "mine" \\`)
    await page.getByRole('button', { name: 'Copy as code' }).click()
    const read = async (language: string) => {
      await page.getByText(language, { exact: true }).click()
      const code = page.getByRole('region', { name: `${language} code` })
      return (await code.textContent()) ?? ''
    }
    const answer = JSON.parse(await runShell(await read('curl'))) as {
      data: { upscaleImages: UpscaleImages }
    }
    expect(answer.data.upscaleImages.results).toEqual(
      Array(4).fill({ task: { id: expect.any(String) }, problem: null }),
    )
    const [typeScript, react] = [await read('TypeScript'), await read('React')]
    expect(checkTypes({ 'snippet.ts': typeScript, 'snippet.tsx': react })).toEqual([])
    // It follows the tasks that curl has submitted.
    const lines = await runTypeScript(typeScript)
    for (const index of [0, 1, 2, 3]) expect(lines).toContain(`${index} SUCCEEDED`)
    expect(opened.problems).toEqual([])
  })

  test('copies code with a token if the gateway wants one', () => {
    const snippets = toSnippets({
      url: 'https://gateway.example.com/graphql',
      isBearer: true,
      taskId: 'source',
      imageIndices: [0, 3],
      waterMark: '',
      engine: 'kie-midjourney',
      queue: false,
    })
    const [curl, typeScript, react] = snippets.map(({ text }) => text)
    expect(curl).toContain('-H "authorization: Bearer $TOKEN"')
    expect(checkTypes({ 'snippet.ts': typeScript ?? '', 'snippet.tsx': react ?? '' })).toEqual([])
  })

  test.each([
    ['light and dark', {}],
    ['narrow', { viewport: NARROW }],
  ])('has no serious violation of axe-core: %s', async (_name, options) => {
    await using opened = await openConsole(browser, service.url, options)
    const { page } = opened
    const check = async () => {
      for (const colorScheme of 'viewport' in options ? (['light'] as const) : (['light', 'dark'] as const)) {
        await page.emulateMedia({ colorScheme })
        expect(await opened.readViolations()).toEqual([])
      }
    }
    await page.getByRole('heading', { name: 'Results' }).waitFor()
    await check()
    await upscale(page, 'sandbox-callback-501')
    await untilCard(page, 'FAILED', 4)
    await upscale(page, `a-picture-${_name.length}`)
    await untilCard(page, 'SUCCEEDED', 4)
    await page.getByText('Options').click()
    await check()
    const width = await page.evaluate<number>('document.documentElement.scrollWidth')
    expect(width).toBeLessThanOrEqual(page.viewportSize()?.width ?? 0)
    await page.getByRole('button', { name: 'Copy as code' }).click()
    await check()
    expect(opened.problems).toEqual([])
  })

  test('asks for a new token when the token expires in mid-stream, and resumes', async () => {
    const sign = (seconds: number) =>
      new SignJWT({ sub: 'user-1' })
        .setProtectedHeader({ alg: 'HS256' })
        .setExpirationTime(Math.floor(Date.now() / 1_000) + seconds)
        .sign(new TextEncoder().encode(SECRET))
    await using service = await start({ AUTH_JWT_SECRET: SECRET })
    await using opened = await openConsole(browser, service.url)
    const { page } = opened
    await page.getByLabel('Bearer token').fill(await sign(4))
    await page.getByRole('button', { name: 'Continue' }).click()
    await upscale(page, 'sandbox-late-6')
    await untilCard(page, 'PROCESSING', 4)
    await page.getByRole('heading', { name: 'Sign in again' }).waitFor()
    // The page stays as it is.
    expect(await cards(page, 'PROCESSING').count()).toBe(4)
    await page.getByLabel('Bearer token').fill(await sign(600))
    await page.getByRole('button', { name: 'Continue' }).click()
    await untilCard(page, 'SUCCEEDED', 4)
    expect(await page.getByRole('heading', { name: /Sign in/ }).count()).toBe(0)
    expect(await page.evaluate('JSON.stringify(localStorage)')).not.toContain('eyJ')
    expect(opened.problems).toEqual([])
  })
})
