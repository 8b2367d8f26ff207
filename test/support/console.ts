import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { startKeeper } from './kept.ts'
import type { Overrides } from '../../src/service.ts'

const root = new URL('../../', import.meta.url)
const axePath = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

/** Builds console/dist, unless it is current. */
export async function buildConsole(): Promise<void> {
  await promisify(execFile)(process.execPath, ['tools/build.ts', 'console'], { cwd: root })
}

/** A sandbox gateway that keeps copies, with its console. */
export async function startConsole(settings: Record<string, string> = {}, overrides: Overrides = {}) {
  const { gateway, ...keeper } = await startKeeper({ CONSOLE: 'on', ...settings }, overrides)
  return { gateway, url: gateway.url, [Symbol.asyncDispose]: () => keeper[Symbol.asyncDispose]() }
}

/** JavaScript for the page: sums up the layout shifts that no input caused. */
const MEASURE_SHIFTS = `
  globalThis.layoutShift = 0
  new PerformanceObserver((list) => {
    for (const { hadRecentInput, value } of list.getEntries()) if (!hadRecentInput) layoutShift += value
  }).observe({ type: 'layout-shift', buffered: true })`

/** JavaScript for the page: spinners, which never end, do not count. */
const ARE_TRANSITIONS_OVER = `document.getAnimations()
  .every(({ effect }) => effect.getComputedTiming().endTime === Infinity)`

export interface ConsolePage extends AsyncDisposable {
  readonly page: Page
  /**
   * Errors in the browser's console, exceptions, violations of the content security policy, requests to other
   * hosts.
   */
  readonly problems: string[]
  /** The sum of the layout shifts that no input caused. */
  readLayoutShift(): Promise<number>
  /** The serious and critical violations that axe-core finds. */
  readViolations(): Promise<string[]>
}

/** Opens a place of the console, such as `#/try`, in a new context of the browser. */
export async function openConsole(
  browser: Browser,
  url: string,
  { hash = '', ...options }: BrowserContextOptions & { hash?: string } = {},
): Promise<ConsolePage> {
  const context = await browser.newContext(options)
  const page = await context.newPage()
  const problems: string[] = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) problems.push(message.text())
  })
  page.on('pageerror', ({ message }) => problems.push(message))
  const { host } = new URL(url)
  const check = (requested: string) => {
    const { protocol, host: requestedHost } = new URL(requested)
    if (!['data:', 'blob:'].includes(protocol) && requestedHost !== host)
      problems.push(`Requested ${requested}`)
  }
  page.on('request', (request) => check(request.url()))
  page.on('websocket', (socket) => check(socket.url()))
  await page.addInitScript({ content: MEASURE_SHIFTS })
  await page.goto(`${url}/console/${hash}`)
  return {
    page,
    problems,
    readLayoutShift: () => page.evaluate('layoutShift'),
    async readViolations() {
      await page.evaluate(await readFile(axePath, 'utf8'))
      // A colour on its way to another one has any contrast.
      await untilTrue(page, ARE_TRANSITIONS_OVER)
      // Only violations: it takes half as long.
      const run = `axe.run(document, { resultTypes: ['violations'] })`
      const { violations } = await page.evaluate<{ violations: Violation[] }>(run)
      return violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join(', ')}`)
    },
    [Symbol.asyncDispose]: () => context.close(),
  }
}

interface Violation {
  readonly id: string
  readonly impact: string
  readonly nodes: readonly { readonly target: readonly string[] }[]
}

/**
 * Resolves once an expression is true in the page. `waitForFunction` needs `eval`, which the console's policy
 * forbids.
 */
export const untilTrue = (page: Page, expression: string): Promise<unknown> =>
  page.evaluate(`new Promise((resolve) => {
    const look = () => ((${expression}) ? resolve() : requestAnimationFrame(look))
    look()
  })`)

/** Presses Tab until the element has the focus, as a person without a mouse does. */
export async function tabTo(page: Page, selector: string): Promise<void> {
  for (let count = 0; count < 80; count += 1) {
    await page.keyboard.press('Tab')
    if (await page.evaluate(`document.activeElement.matches(${JSON.stringify(selector)})`)) return
  }
  throw new Error(`Tab does not reach ${selector}`)
}
