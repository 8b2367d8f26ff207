import { afterAll, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { launchChromium } from '../support/chromium.ts'
import { buildConsole, startConsole } from '../support/console.ts'
import { CLIENT_ID, startOpenIdProvider, type OpenIdProvider } from '../support/openid-provider.ts'

// Chromium shares the processors with the other tests.
jest.setTimeout(90_000)

const AUDIENCE = 'upscale'
const TOKEN_KEY = 'upscale-console:token'

let browser: Browser
beforeAll(async () => {
  await buildConsole()
  browser = await launchChromium()
})
afterAll(() => browser.close())

/** A gateway whose callers are those of an OpenID provider, which its console signs in with. */
async function openWorld() {
  await using opened = new AsyncDisposableStack()
  const provider = opened.use(await startOpenIdProvider())
  const { url, gateway, ...service } = await startConsole(
    {
      AUTH_JWKS_URL: provider.jwksUrl,
      AUTH_ISSUER: provider.issuer,
      AUTH_AUDIENCE: AUDIENCE,
      CONSOLE_OIDC_ISSUER: provider.issuer,
      CONSOLE_OIDC_CLIENT_ID: CLIENT_ID,
      CONSOLE_OIDC_SCOPE: 'openid profile',
    },
    { sandboxCompleteAfterMs: 300 },
  )
  opened.use(service)
  provider.redirectUri = `${url}/console/`
  const rest = opened.move()
  return { provider, url, gateway, [Symbol.asyncDispose]: () => rest.disposeAsync() }
}

interface Visit extends AsyncDisposable {
  readonly page: Page
  readonly context: BrowserContext
  /** Errors in the browser's console, exceptions, violations of the content security policy. */
  readonly problems: string[]
}

async function visit(url: string): Promise<Visit> {
  const context = await browser.newContext()
  const page = await context.newPage()
  const problems: string[] = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) problems.push(message.text())
  })
  page.on('pageerror', ({ message }) => problems.push(message))
  await page.goto(url)
  return { page, context, problems, [Symbol.asyncDispose]: () => context.close() }
}

const signIn = (page: Page, { issuer }: OpenIdProvider) =>
  page.getByRole('button', { name: `Sign in with ${new URL(issuer).host}` }).click()
const untilSignedIn = (page: Page) => page.getByRole('button', { name: 'Sign out' }).waitFor()
const readToken = (page: Page) => page.evaluate<string | null>(`sessionStorage.getItem('${TOKEN_KEY}')`)

/** The URLs of the tab's history. */
async function readHistory({ context, page }: Visit): Promise<string[]> {
  const session = await context.newCDPSession(page)
  const { entries } = await session.send('Page.getNavigationHistory')
  return entries.map(({ url }) => url)
}

/** The tasks that an owner sees. */
async function listTasks(url: string, token: string): Promise<number> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query: '{ upscaleTasks { edges { node { id } } } }' }),
  })
  const { data } = (await response.json()) as { data: { upscaleTasks: { edges: unknown[] } } }
  return data.upscaleTasks.edges.length
}

describe('signing in with an OpenID provider', () => {
  let world: Awaited<ReturnType<typeof openWorld>>
  beforeAll(async () => {
    world = await openWorld()
  })
  afterAll(async () => {
    await world[Symbol.asyncDispose]()
  })
  beforeEach(() => {
    const { provider } = world
    Object.assign(provider, { lifetimeS: 3_600, forgedState: undefined, refusal: undefined })
    for (const list of [provider.authorizations, provider.issued, provider.refusedTokens]) list.length = 0
  })

  test('leads back to the same place in the console, whose operations then run as the owner', async () => {
    const { provider, url } = world
    await using opened = await visit(`${url}/console/#/try`)
    const { page, problems } = opened
    await signIn(page, provider)
    await untilSignedIn(page)
    expect(page.url()).toBe(`${url}/console/#/try`)
    expect(provider.authorizations).toEqual([
      expect.objectContaining({
        client_id: CLIENT_ID,
        redirect_uri: `${url}/console/`,
        scope: 'openid profile',
        audience: AUDIENCE,
        code_challenge_method: 'S256',
      }),
    ])
    await page.getByLabel('Midjourney task id').fill('mine')
    await page.getByRole('button', { name: /^Upscale \d/ }).click()
    await page.locator('.try-card[data-status=SUCCEEDED]').first().waitFor()
    expect(await listTasks(url, await provider.sign('alice'))).toBeGreaterThan(0)
    expect(await listTasks(url, await provider.sign('bob'))).toBe(0)
    expect(provider.refusedTokens).toEqual([])
    expect(problems).toEqual([])
  })

  test('shows the page that was wanted', async () => {
    const { provider, url } = world
    await using opened = await visit(`${url}/console/#/service`)
    await signIn(opened.page, provider)
    await untilSignedIn(opened.page)
    await opened.page
      .getByRole('link', { name: 'Service', exact: true })
      .and(opened.page.locator('[aria-current=page]'))
      .waitFor()
    expect(await opened.page.title()).toContain('Service')
  })

  test('leaves the token in the session storage only, and no code in the URL or the history', async () => {
    const { provider, url } = world
    await using opened = await visit(`${url}/console/`)
    const { page, context } = opened
    await signIn(page, provider)
    await untilSignedIn(page)
    const [token = ''] = provider.issued
    expect(await readToken(page)).toBe(token)
    expect(await page.evaluate('localStorage.length')).toBe(0)
    expect(await page.evaluate('document.cookie')).toBe('')
    expect(await page.evaluate('Object.keys(sessionStorage)')).toEqual([TOKEN_KEY])
    for (const entry of await readHistory(opened)) expect(entry).not.toMatch(/code=|state=|token/)
    await page.reload()
    await untilSignedIn(page)
    expect(provider.issued).toHaveLength(1)
    // Another tab has a session of its own.
    const other = await context.newPage()
    await other.goto(`${url}/console/`)
    await other.getByRole('button', { name: /^Sign in with/ }).waitFor()
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('button', { name: /^Sign in with/ }).waitFor()
    expect(await page.evaluate('sessionStorage.length')).toBe(0)
  })

  test('connects to the issuer and the token endpoint, and the policies of the page allow nothing else', async () => {
    const { provider, url } = world
    const { headers } = await fetch(`${url}/console/`)
    const policy = headers.get('content-security-policy')?.split('; ')
    expect(policy).toContain(`connect-src 'self' ${provider.issuer} ${provider.tokenOrigin}`)
    expect(headers.get('cross-origin-opener-policy')).toBe('same-origin')
  })

  test('asks to sign in again when the token expires, and continues where it was', async () => {
    const { provider, url } = world
    provider.lifetimeS = 1
    await using opened = await visit(`${url}/console/#/tasks`)
    const { page } = opened
    await signIn(page, provider)
    await page.getByRole('heading', { name: 'Sign in again' }).waitFor()
    expect(await readToken(page)).toBeNull()
    provider.lifetimeS = 3_600
    await signIn(page, provider)
    await untilSignedIn(page)
    expect(page.url()).toBe(`${url}/console/#/tasks`)
    await page.getByRole('heading', { name: 'Tasks', exact: true }).waitFor()
    expect(provider.issued).toHaveLength(2)
  })

  test('refuses an answer whose state is not that of the request', async () => {
    const { provider, url } = world
    provider.forgedState = 'forged'
    await using opened = await visit(`${url}/console/`)
    const { page } = opened
    await signIn(page, provider)
    const said = await page.getByRole('alert').textContent()
    expect(said).toBe('This answer does not belong to the sign-in that was started here: sign in again.')
    expect(await readToken(page)).toBeNull()
    expect(provider.issued).toEqual([])
    expect(page.url()).not.toContain('code=')
    // The next try is a new request.
    provider.forgedState = undefined
    await signIn(page, provider)
    await untilSignedIn(page)
  })

  test('refuses an answer without a request', async () => {
    const { provider, url } = world
    await using opened = await visit(`${url}/console/?code=stolen&state=any`)
    const { page } = opened
    expect(await page.getByRole('alert').textContent()).toContain('started in another tab')
    expect(await readToken(page)).toBeNull()
    expect(provider.issued).toEqual([])
    expect(page.url()).toBe(`${url}/console/`)
  })

  test('says why the provider refuses', async () => {
    const { provider, url } = world
    provider.refusal = { error: 'access_denied', error_description: 'The user has no access' }
    await using opened = await visit(`${url}/console/`)
    await signIn(opened.page, provider)
    expect(await opened.page.getByRole('alert').textContent()).toBe(
      `${new URL(provider.issuer).host} refuses the sign-in: access_denied (The user has no access).`,
    )
  })

  test('says what to check if the page may not read the responses of the provider', async () => {
    const { provider, url } = world
    await using opened = await visit(`${url}/console/`)
    const { redirectUri } = provider
    provider.redirectUri = 'http://other.example/console/'
    try {
      await signIn(opened.page, provider)
      expect(await opened.page.getByRole('alert').textContent()).toBe(
        `${provider.issuer} cannot be reached from this page. It must run, and allow ${url} (CORS).`,
      )
    } finally {
      provider.redirectUri = redirectUri
    }
  })
})
