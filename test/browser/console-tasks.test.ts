import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import { SANDBOX_SCRIPTS } from '../../client/src/testing/scripts.ts'
import { CATALOGUE } from '../../src/tasks/failure.ts'
import { launchChromium } from '../support/chromium.ts'
import { openConsoleScene, openScriptedConsole } from '../support/console-scene.ts'
import { buildConsole, openConsole, tabTo } from '../support/console.ts'
import { startSilentProxy } from '../support/proxy.ts'

/** axe-core reads the page four times. */
const ACCESSIBLE_TIMEOUT_MS = 120_000
const NARROW = { width: 360, height: 740 }
const UNKNOWN_ID = '00000000-0000-4000-8000-000000000000'

let browser: Browser
beforeAll(async () => {
  await buildConsole()
  browser = await launchChromium()
})
afterAll(() => browser.close())

const row = (page: Page, id: string) => page.locator(`[data-task="${id}"]`)
const panel = (page: Page) => page.getByRole('article', { name: 'Task' })
const sources = (page: Page) => page.locator('.task-row-id').allInnerTexts()

/** A receiver of deliveries that answers with a status that a test changes. */
async function startReceiver() {
  const receiver = { status: 500, url: '' }
  const server = createServer((_request, response) => response.writeHead(receiver.status).end())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  receiver.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`
  return Object.assign(receiver, {
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  })
}

describe('The list of tasks', () => {
  test('shows a new task at once, and moves it to SUCCEEDED', async () => {
    await using scene = await openScriptedConsole(browser)
    await using opened = await scene.open('#/tasks')
    const { page } = opened
    await page.getByText('No tasks yet').waitFor()
    const id = await scene.submit('live-source', { imageIndex: 2 })
    await row(page, id).getByText('Processing').waitFor()
    expect(await row(page, id).innerText()).toMatch(/live-source\s*· 3/)
    await scene.succeed()
    await row(page, id).getByText('Succeeded').waitFor()
    await row(page, id).locator('img').waitFor()
    expect(opened.problems).toEqual([])
  })

  test('is filtered by status, and says so in its URL', async () => {
    await using scene = await openScriptedConsole(browser)
    await scene.submit('works')
    const failed = await scene.submit('fails')
    await scene.fail(501, 2)
    await using opened = await scene.open('#/tasks')
    const { page } = opened
    await row(page, failed).getByText('GENERATION_FAILED').waitFor()
    expect(await sources(page)).toEqual(['fails', 'works'])
    await page.getByRole('button', { name: 'Failed' }).click()
    await page.getByText('1 task', { exact: true }).waitFor()
    expect(await sources(page)).toEqual(['fails'])
    expect(page.url()).toContain('#/tasks?status=FAILED')
    await page.reload()
    await page.getByText('1 task', { exact: true }).waitFor()
    expect(await sources(page)).toEqual(['fails'])
  })

  test('is filtered by a part of the source id', async () => {
    await using scene = await openScriptedConsole(browser)
    for (const source of ['winter-1', 'summer-1', 'winter-2']) await scene.submit(source)
    await using opened = await scene.open('#/tasks')
    const { page } = opened
    await page.getByRole('searchbox').fill('WINTER')
    await page.getByText('2 of the 3 tasks').waitFor()
    expect(await sources(page)).toEqual(['winter-2', 'winter-1'])
  })

  test('finds a task that is not loaded by its id, and says when there is none', async () => {
    await using scene = await openConsoleScene(browser)
    const oldest = await scene.submit('the-oldest')
    for (let count = 0; count < 26; count += 1) await scene.submit(`newer-${count}`)
    await using opened = await scene.open('#/tasks')
    const { page } = opened
    await page.getByText('25 newest tasks').waitFor()
    const search = page.getByRole('searchbox')
    await search.fill(oldest)
    await search.press('Enter')
    await panel(page).getByRole('heading', { name: 'the-oldest' }).waitFor()
    await search.fill(UNKNOWN_ID)
    await search.press('Enter')
    await panel(page).getByText('No task has this id').waitFor()
    await search.fill('')
    await page.getByRole('button', { name: 'Load more' }).click()
    await page.getByText('27 tasks').waitFor()
    expect((await sources(page)).at(-1)).toBe('the-oldest')
  })

  test('shows every task that was submitted while the gateway could not be reached', async () => {
    await using scene = await openConsoleScene(browser)
    await using proxy = await startSilentProxy(scene.url)
    const before = await scene.submit('before')
    await using opened = await openConsole(browser, proxy.url.replace(/\/$/, ''), { hash: '#/tasks' })
    const { page } = opened
    await row(page, before).getByText('Succeeded').waitFor()
    await proxy.refuse()
    await page.getByText('The gateway cannot be reached').waitFor()
    // The stream begins with 100 tasks at most: without another look at the list, the first 20 are missed.
    await Promise.all(Array.from({ length: 120 }, (_, index) => scene.submit(`missed-${index}`)))
    await proxy.accept()
    await page.getByText('25 newest tasks').waitFor()
    for (let loaded = 25; loaded < 121; loaded += 25) {
      await page.getByRole('button', { name: 'Load more' }).click()
      await page.getByText(loaded + 25 < 121 ? `${loaded + 25} newest tasks` : '121 tasks').waitFor()
    }
    expect((await sources(page)).at(-1)).toBe('before')
    expect(new Set(await sources(page)).size).toBe(121)
  })

  test('holds new tasks back while a row has the focus, and says how many there are', async () => {
    await using scene = await openScriptedConsole(browser)
    const first = await scene.submit('first')
    await using opened = await scene.open('#/tasks')
    const { page } = opened
    const link = row(page, first).getByRole('link')
    await link.focus()
    const before = await link.boundingBox()
    await scene.submit('second')
    await scene.submit('third')
    const news = page.getByRole('button', { name: '2 new tasks' })
    await news.waitFor()
    expect([await sources(page), await link.boundingBox()]).toEqual([['first'], before])
    await scene.succeed()
    await row(page, first).getByText('Succeeded').waitFor()
    await news.click()
    expect(await sources(page)).toEqual(['third', 'second', 'first'])
  })
})

describe('The details of a task', () => {
  test('show its history as it grows, and its correlation id to copy', async () => {
    await using scene = await openScriptedConsole(browser)
    const id = await scene.submit('timeline')
    await using opened = await scene.open(`#/tasks/${id}`, {
      permissions: ['clipboard-read', 'clipboard-write'],
    })
    const { page } = opened
    const entries = panel(page).locator('.timeline > li')
    await entries.nth(1).getByText('Processing').waitFor()
    await scene.succeed()
    await panel(page).getByText('Succeeded').first().waitFor()
    const texts = await entries.allInnerTexts()
    expect([texts[0], texts.at(-1)]).toEqual([
      expect.stringMatching(/^Submitted/),
      expect.stringMatching(/^Succeeded[^]*by callback/),
    ])
    await panel(page).getByRole('button', { name: 'Copy the correlation id' }).click()
    const { data } = await scene.gateway.run<{ upscaleTask: { correlationId: string } }, never>(
      'HTTP',
      `{ upscaleTask(id: "${id}") { correlationId } }`,
    )
    await page.getByText('Copied').waitFor({ state: 'attached' })
    expect(await page.evaluate('navigator.clipboard.readText()')).toBe(data?.upscaleTask.correlationId)
    expect(opened.problems).toEqual([])
  })

  test('show a failed delivery, and its success after a redelivery', async () => {
    await using receiver = await startReceiver()
    await using scene = await openScriptedConsole(browser, { CALLBACK_ALLOW_HOSTS: '127.0.0.1' })
    const id = await scene.submit('delivered', { callBackUrl: `${receiver.url}?secret=1` })
    await using opened = await scene.open(`#/tasks/${id}`)
    const { page } = opened
    const delivery = page.locator('.task-delivery')
    await delivery.getByText('Waits for the result').waitFor()
    await scene.fail(422)
    await delivery.getByText('last answer 500').waitFor()
    await delivery.getByText('Retrying').waitFor()
    expect(await delivery.innerText()).toContain(receiver.url)
    receiver.status = 204
    await page.getByRole('button', { name: 'Redeliver' }).click()
    await delivery.getByText('Delivered', { exact: true }).waitFor()
    expect(await delivery.getAttribute('data-state')).toBe('DELIVERED')
    expect(opened.problems).toEqual([])
  })

  const codes = new Map(
    SANDBOX_SCRIPTS.filter(({ ends, waitsFor }) => ends !== 'SUCCEEDED' && waitsFor === null).map(
      ({ code, taskId }) => [code, taskId],
    ),
  )

  test('show every failure of the sandbox with the text of the catalogue and with advice', async () => {
    expect(codes.size).toBeGreaterThanOrEqual(14)
    await using scene = await openConsoleScene(browser)
    await using opened = await scene.open('#/tasks')
    const { page } = opened
    for (const [code, script] of codes) {
      if (code === null) continue
      const id = await scene.submit(script)
      await page.goto(`${scene.url}/console/#/tasks/${id}`)
      const problem = panel(page).getByRole('region', { name: `Problem ${code}` })
      await problem.getByText(CATALOGUE[code].description).waitFor()
      expect(await problem.innerText()).toMatch(/What to do|For the operator/)
    }
    expect(opened.problems).toEqual([])
  })

  test('let a settled task be deleted after a question', async () => {
    await using scene = await openScriptedConsole(browser)
    const id = await scene.submit('deleted')
    await using opened = await scene.open(`#/tasks/${id}`)
    const { page } = opened
    await panel(page).getByText('Processing').first().waitFor()
    const remove = page.getByRole('button', { name: 'Delete…' })
    expect(await remove.count()).toBe(0)
    await scene.fail(501)
    await remove.click()
    const dialog = page.getByRole('dialog', { name: 'Delete the task?' })
    await dialog.getByRole('button', { name: 'Keep it' }).click()
    expect(await row(page, id).count()).toBe(1)
    await remove.click()
    await dialog.getByRole('button', { name: 'Delete' }).click()
    await page.getByText('No tasks yet').waitFor()
    expect(new URL(page.url()).hash).toBe('#/tasks')
    await page.goto(`${scene.url}/console/#/tasks/${id}`)
    await panel(page).getByText('No task has this id').waitFor()
  })

  test('let a task in the queue be canceled', async () => {
    await using scene = await openScriptedConsole(browser, { UPSTREAM_RATE_LIMIT: '1/600s' })
    await scene.submit('sent')
    const id = await scene.submit('queued', { queue: true })
    await using opened = await scene.open(`#/tasks/${id}`)
    const { page } = opened
    await row(page, id).getByText('Waiting, 1.').waitFor()
    await page.getByRole('button', { name: 'Cancel the task' }).click()
    await panel(page).getByRole('region', { name: 'Problem CANCELLED' }).waitFor()
    await row(page, id).getByText('Failed').waitFor()
    expect(await panel(page).innerText()).toContain('by owner')
    expect(opened.problems).toEqual([])
  })
})

describe('The page Tasks', () => {
  test('is used with the keyboard only', async () => {
    await using scene = await openScriptedConsole(browser)
    const older = await scene.submit('older')
    const newer = await scene.submit('newer')
    await using opened = await scene.open('#/tasks')
    const { page } = opened
    await row(page, newer).waitFor()
    await tabTo(page, `[data-task="${newer}"] a`)
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Enter')
    await panel(page).getByRole('heading', { name: 'older' }).waitFor()
    expect(await page.evaluate('document.activeElement.tagName')).toBe('H2')
    await page.keyboard.press('Escape')
    await page.getByText('No task is open').waitFor()
    expect(await page.evaluate(`document.activeElement.closest('[data-task="${older}"]') !== null`)).toBe(
      true,
    )
  })

  test.each([
    ['light and dark', {}],
    ['narrow', { viewport: NARROW }],
  ])(
    'is accessible, at rest, and as wide as its window: %s',
    async (_name, options) => {
      await using scene = await openScriptedConsole(browser)
      const done = await scene.submit('a-source-with-a-long-name-of-sixty-four-characters-0123456789abcd')
      const failed = await scene.submit('fails')
      await scene.submit('runs')
      await scene.succeed(1)
      await scene.fail(422, 2)
      await using opened = await scene.open('#/tasks', options)
      const { page } = opened
      await row(page, done).getByText('Succeeded').waitFor()
      for (const id of [null, done, failed, UNKNOWN_ID]) {
        if (id !== null) {
          await page.goto(`${scene.url}/console/#/tasks/${id}`)
          await panel(page).and(page.locator('[aria-busy=false]')).waitFor()
        }
        for (const colorScheme of 'viewport' in options
          ? (['light'] as const)
          : (['light', 'dark'] as const)) {
          await page.emulateMedia({ colorScheme })
          expect(await opened.readViolations()).toEqual([])
        }
        expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
      }
      expect(await opened.readLayoutShift()).toBeLessThan(0.05)
      expect(opened.problems).toEqual([])
    },
    ACCESSIBLE_TIMEOUT_MS,
  )
})
