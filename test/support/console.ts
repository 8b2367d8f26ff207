import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { startConsoleFront } from './console-front.ts'
import { startKeeper } from './kept.ts'
import type { Overrides } from '../../src/service.ts'

const root = new URL('../../', import.meta.url)
const axePath = createRequire(import.meta.url).resolve('axe-core/axe.min.js')

/** Builds console/dist from its sources. */
export async function buildConsole(): Promise<void> {
  const vite = new URL('node_modules/vite/bin/vite.js', root).pathname
  await promisify(execFile)(process.execPath, [vite, 'build'], { cwd: new URL('console/', root) })
}

/** A sandbox gateway that keeps copies, with its console. */
export async function startConsole(settings: Record<string, string> = {}, overrides: Overrides = {}) {
  await using opened = new AsyncDisposableStack()
  const { gateway } = opened.use(await startKeeper({ CONSOLE: 'on', ...settings }, overrides))
  const { ok } = await fetch(`${gateway.url}/console/`)
  const authentication = settings.AUTH_JWT_SECRET === undefined ? 'none' : 'bearer'
  const config = { mode: 'SANDBOX', version: '0.1.0', authentication, oidc: null }
  const { url } = ok ? gateway : opened.use(await startConsoleFront(gateway.url, config))
  const rest = opened.move()
  return { gateway, url, [Symbol.asyncDispose]: () => rest.disposeAsync() }
}

/** JavaScript for the page: sums up the layout shifts that no input caused. */
const MEASURE_SHIFTS = `
  globalThis.layoutShift = 0
  new PerformanceObserver((list) => {
    for (const { hadRecentInput, value } of list.getEntries()) if (!hadRecentInput) layoutShift += value
  }).observe({ type: 'layout-shift', buffered: true })`

export interface ConsolePage extends AsyncDisposable {
  readonly page: Page
  /** Errors in the browser's console, exceptions, violations of the content security policy, requests to other hosts. */
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
      const { violations } = await page.evaluate<{ violations: Violation[] }>('axe.run()')
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

/** Presses Tab until the element has the focus, as a person without a mouse does. */
export async function tabTo(page: Page, selector: string): Promise<void> {
  for (let count = 0; count < 80; count += 1) {
    await page.keyboard.press('Tab')
    if (await page.evaluate(`document.activeElement.matches(${JSON.stringify(selector)})`)) return
  }
  throw new Error(`Tab does not reach ${selector}`)
}
