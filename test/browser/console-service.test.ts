import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { SignJWT } from 'jose'
import type { Browser, Page } from 'playwright-core'
import { SANDBOX_SCRIPTS } from '../../client/src/testing/scripts.ts'
import { CATALOGUE } from '../../src/tasks/failure.ts'
import { launchChromium } from '../support/chromium.ts'
import { openConsoleScene } from '../support/console-scene.ts'
import { buildConsole, tabTo } from '../support/console.ts'

const SECRET = 'a-secret-of-at-least-thirty-two-bytes'
const NARROW = { width: 360, height: 740 }

let browser: Browser
beforeAll(async () => {
  await buildConsole()
  browser = await launchChromium()
})
afterAll(() => browser.close())

/** The scripts whose failure needs no waiting. */
const FAILING = SANDBOX_SCRIPTS.filter(({ waitsFor }) => waitsFor === null).flatMap(
  ({ taskId, ends, code }) => (code === null ? [] : [{ taskId, ends, code }]),
)

const card = (page: Page, title: string) =>
  page.locator('.card').filter({ has: page.getByRole('heading', { name: title }) })
const script = (page: Page, taskId: string) => page.locator(`[data-script="${taskId}"]`)

const sign = (claims: Record<string, unknown>) =>
  new SignJWT({ sub: 'ann', ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET))

describe('The page Service', () => {
  test('shows the mode, the engines with their rate and credits, and the queue', async () => {
    await using scene = await openConsoleScene(browser, { settings: { UPSTREAM_RATE_LIMIT: '2/600s' } })
    for (const source of ['sent-1', 'sent-2', 'waiting-1', 'waiting-2', 'waiting-3'])
      await scene.submit(source, { queue: true })
    await using opened = await scene.open('#/service')
    const { page } = opened
    const engines = card(page, 'Engines')
    await engines.getByText('0 of 2 left').waitFor()
    await engines.getByText('Available').waitFor()
    await engines.getByText(/^[\d,]+$/).waitFor()
    expect(await page.locator('.service-facts').innerText()).toMatch(/Sandbox[^]*3\s*of your tasks wait/)
    await card(page, 'Usage').getByText('No engine has reported credits').waitFor()
    expect(opened.problems).toEqual([])
  })

  test('shows the credits to operators only', async () => {
    await using scene = await openConsoleScene(browser, { settings: { AUTH_JWT_SECRET: SECRET } })
    await using opened = await scene.open('#/service')
    const { page } = opened
    const signIn = async (claims: Record<string, unknown>) => {
      await page.getByLabel('Bearer token').fill(await sign(claims))
      await page.getByRole('button', { name: 'Continue' }).click()
    }
    await signIn({})
    await card(page, 'Engines').getByText('operators only').waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await signIn({ scope: 'upscale:operate' })
    await page.getByRole('link', { name: 'Service' }).click()
    await card(page, 'Engines')
      .getByText(/^[\d,]+$/)
      .waitFor()
    expect(opened.problems).toEqual([])
  })

  test('searches the error catalogue', async () => {
    await using scene = await openConsoleScene(browser)
    await using opened = await scene.open('#/service')
    const { page } = opened
    const catalogue = card(page, 'Error catalogue')
    const codes = catalogue.locator('[data-code]')
    await codes.first().waitFor()
    expect(await codes.count()).toBe(Object.keys(CATALOGUE).length)
    const search = catalogue.getByRole('searchbox')
    await search.fill('402')
    expect(await codes.allInnerTexts()).toEqual([expect.stringContaining('INSUFFICIENT_CREDITS')])
    expect(await codes.innerText()).toContain('top up the account')
    await search.fill('no such text')
    await catalogue.getByText('No code matches “no such text”.').waitFor()
  })

  test('runs every script that fails at once, by refusal and by callback, and shows its code and text', async () => {
    await using scene = await openConsoleScene(browser)
    await using opened = await scene.open('#/service')
    const { page } = opened
    for (const [group, scripts] of [
      ['Fail', FAILING.filter(({ ends }) => ends === 'FAILED')],
      ['Refused', FAILING.filter(({ ends }) => ends === 'REFUSED')],
    ] as const) {
      await page.getByRole('button', { name: group, exact: true }).click()
      for (const { taskId } of scripts)
        await page.getByRole('button', { name: `Run ${taskId}`, exact: true }).click()
      for (const { taskId, code } of scripts) {
        const row = script(page, taskId)
        await row.locator('.script-code').getByText(code, { exact: true }).waitFor()
        await row.getByText('Failed', { exact: true }).waitFor()
        await row.getByText(CATALOGUE[code].description).waitFor()
      }
    }
    expect(opened.problems).toEqual([])
  })

  test('leads from the outcome of a script to its task, and back', async () => {
    await using scene = await openConsoleScene(browser)
    await using opened = await scene.open('#/service')
    const { page } = opened
    await page.getByRole('button', { name: 'Refused', exact: true }).click()
    await page.getByRole('button', { name: 'Run sandbox-code-402' }).click()
    await script(page, 'sandbox-code-402').getByRole('link', { name: 'Open the task' }).click()
    await page.getByRole('region', { name: 'Problem INSUFFICIENT_CREDITS' }).waitFor()
    await page.goBack()
    await page.getByRole('heading', { name: 'Sandbox scripts' }).waitFor()
    expect(await page.locator('[data-script]').count()).toBe(SANDBOX_SCRIPTS.length)
    expect(opened.problems).toEqual([])
  })

  test('is used with the keyboard only', async () => {
    await using scene = await openConsoleScene(browser)
    await using opened = await scene.open('#/service')
    const { page } = opened
    await script(page, 'my-picture').waitFor()
    await tabTo(page, '[data-script="my-picture"] button')
    await page.keyboard.press('Enter')
    await script(page, 'my-picture').getByText('Succeeded').waitFor()
    await page.keyboard.press('Shift+Tab')
    await page.keyboard.press('Enter')
    await page.getByRole('article', { name: 'Task' }).getByText('my-picture').waitFor()
  })

  test.each([
    ['light and dark', {}],
    ['narrow', { viewport: NARROW }],
  ])('is accessible, at rest, and as wide as its window: %s', async (_name, options) => {
    await using scene = await openConsoleScene(browser)
    await using opened = await scene.open('#/service', options)
    const { page } = opened
    await page.locator('[data-code]').first().waitFor()
    await page.getByRole('button', { name: 'Refused', exact: true }).click()
    await script(page, 'sandbox-code-402').getByRole('button').click()
    await script(page, 'sandbox-code-402').getByText('Failed', { exact: true }).waitFor()
    expect(await opened.readViolations()).toEqual([])
    if (!('viewport' in options)) {
      await page.emulateMedia({ colorScheme: 'dark' })
      expect(await opened.readViolations()).toEqual([])
    }
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    expect(await opened.readLayoutShift()).toBeLessThan(0.05)
    expect(opened.problems).toEqual([])
  })
})
