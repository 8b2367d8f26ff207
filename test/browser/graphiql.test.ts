import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { SignJWT } from 'jose'
import { openBrowser, type Page } from '../support/browser.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'

const SECRET = 'a-secret-of-at-least-thirty-two-bytes'
/** What the page says; the editors wrap lines and use spaces of their own. */
const TEXT = `document.body.innerText.replace(/\\s+/g, ' ')`
const DOCS = `${TEXT}.includes('All Schema Types')`
const SUBMIT = 'mutation { upscaleImage(input: { taskId: "source", imageIndex: 0 }) { task { id } } }'

let page: Page
beforeAll(async () => {
  page = await openBrowser(process.env.CHROMIUM ?? 'chromium')
})
afterAll(async () => {
  await page[Symbol.asyncDispose]()
})

/** Opens GraphiQL with this operation in it, and nothing that an earlier visit has stored. */
async function openGraphiql(gateway: Gateway, query: string): Promise<void> {
  await page.open(`${gateway.url}/graphql`)
  await page.evaluate('localStorage.clear()')
  page.requests.length = 0
  page.sent.length = 0
  await page.open(`${gateway.url}/graphql?${new URLSearchParams({ query }).toString()}`)
  await untilReady()
}

/** Resolves once there is text in the editors: until then, a click on Run has no effect. */
const untilReady = () =>
  page.until(
    `document.querySelectorAll('.graphiql-editor .view-lines').length >= 3 &&
      document.querySelector('.graphiql-query-editor .view-lines').innerText.trim() !== ''`,
  )

async function typeHeaders(headers: object): Promise<void> {
  await page.click('button[data-name="headers"]')
  await page.click('section[aria-label="Headers"] .graphiql-editor:not(.hidden) .view-lines')
  await page.replaceText(JSON.stringify(headers))
}

const run = () => page.click('button.graphiql-execute-button')
const openDocs = () => page.click('button[aria-label="Show Documentation Explorer"]')
const response = () =>
  page.evaluate<string>(`document.querySelector('.result-window').innerText.replace(/\\s+/g, ' ')`)

describe('GraphiQL', () => {
  test('loads its schema and runs operations, and connects to nothing but its own server', async () => {
    await using gateway = await startGateway()
    await openGraphiql(gateway, SUBMIT)
    await openDocs()
    await page.until(DOCS)
    await run()
    await page.until(`${TEXT}.includes('"upscaleImage": {')`)
    const own = [gateway.url, gateway.url.replace('http', 'ws'), `blob:${gateway.url}`, 'data:']
    expect(page.requests.filter((url) => !own.some((prefix) => url.startsWith(prefix)))).toEqual([])
  })
})

describe('on a first visit, GraphiQL', () => {
  const ACTIVE = `document.querySelector('.graphiql-tab-active').innerText.trim()`
  const TABS = `[...document.querySelectorAll('.graphiql-tab-button')].map(({ innerText }) => innerText)`
  const openTab = async (name: string) => {
    await page.click(`button[title="${name}"]`)
    // Until its operation is in the editor, Run would send that of the tab before.
    await page.until(`${ACTIVE} === '${name}' && ${TEXT}.includes(' ${name}($')`)
    // GraphiQL stores its state once that has changed, too.
    await page.until(`(() => {
      const { tabs = [], activeTabIndex } = JSON.parse(localStorage.getItem('graphiql:tabState') ?? '{}')
      return tabs[activeTabIndex]?.operationName === '${name}'
    })()`)
  }
  const variables = `document.querySelector('section[aria-label="Variables"]').innerText.replace(/\\s+/g, ' ')`

  async function visit({ url }: Gateway, search = ''): Promise<void> {
    await page.open(`${url}/livez`)
    await page.evaluate('localStorage.clear()')
    page.sent.length = 0
    await page.open(`${url}/graphql${search}`)
    await untilReady()
  }

  test('has four tabs, and each of them runs as it is', async () => {
    await using gateway = await startGateway()
    await visit(gateway)
    expect(await page.evaluate(TABS)).toEqual(['Submit', 'Follow', 'Fail', 'List'])
    await run()
    await page.until(`${TEXT}.includes('"status": "PROCESSING"')`)
    await openTab('Fail')
    await run()
    await page.until(`${TEXT}.includes('"code": "INSUFFICIENT_CREDITS"')`)
    await openTab('List')
    await run()
    await page.until(`${TEXT}.includes('"upscaleTasks": {') && ${TEXT}.includes('"id": "sandbox-late-20"')`)
  })

  test('keeps its tabs, and what is in them, over a reload', async () => {
    await using gateway = await startGateway()
    await visit(gateway)
    await page.until(`localStorage.getItem('graphiql:tabState')`)
    await page.open(`${gateway.url}/graphql`)
    await untilReady()
    expect(await page.evaluate(TABS)).toEqual(['Submit', 'Follow', 'Fail', 'List'])
    expect(await page.evaluate(ACTIVE)).toBe('Submit')
    await page.until(`${variables}.includes('sandbox-late-20')`)
  })

  test('follows the submitted task live, without copying its id', async () => {
    await using gateway = await startGateway()
    await visit(gateway)
    await run()
    await page.until(`${TEXT}.includes('"status": "PROCESSING"')`)
    const [, id = ''] = /"id": "([^"]+)"/.exec(await response()) ?? []
    await openTab('Follow')
    await page.until(`${variables}.includes('${id}')`)
    await run()
    await page.until(`document.querySelector('.result-window').innerText.includes('taskUpdated')`)
    expect(await response()).toContain('"status": "PROCESSING"')
    expect(page.sent.join()).toContain(id)
  })

  test('opens the query of a link in a tab of its own, in front of the four', async () => {
    await using gateway = await startGateway()
    await visit(gateway, `?${new URLSearchParams({ query: 'query Mine { __typename }' }).toString()}`)
    expect(await page.evaluate(TABS)).toEqual(['Mine', 'Submit', 'Follow', 'Fail', 'List'])
    await run()
    await page.until(`${TEXT}.includes('"__typename": "Query"')`)
  })
})

describe('GraphiQL with authentication on', () => {
  let gateway: Gateway
  let authorization: string
  beforeAll(async () => {
    gateway = await startGateway({ AUTH_JWT_SECRET: SECRET })
    const token = new SignJWT({ sub: 'ann' }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h')
    authorization = `Bearer ${await token.sign(new TextEncoder().encode(SECRET))}`
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
  })

  /** Submits an upscale as the owner of the token; resolves to a subscription to it. */
  async function toSubscription(): Promise<string> {
    const answer = await fetch(`${gateway.url}/graphql`, {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body: JSON.stringify({ query: SUBMIT }),
    })
    const { data } = (await answer.json()) as { data: { upscaleImage: { task: { id: string } } } }
    return `subscription { taskUpdated(id: "${data.upscaleImage.task.id}") { status } }`
  }

  test('says what is missing, and loads the schema as soon as the headers are typed', async () => {
    await openGraphiql(gateway, SUBMIT)
    await page.until(`${TEXT}.includes('The schema is not loaded: A valid bearer token is required.')`)
    await openDocs()
    expect(await page.evaluate(DOCS)).toBe(false)
    await typeHeaders({ Authorization: authorization })
    await page.until(DOCS)
    await run()
    await page.until(`${TEXT}.includes('"upscaleImage": {')`)
  })

  test('loads the schema with headers that an earlier visit has stored', async () => {
    await openGraphiql(gateway, SUBMIT)
    await typeHeaders({ authorization })
    await page.until(`localStorage.getItem('graphiql:headers')?.includes('Bearer')`)
    await page.open(`${gateway.url}/graphql`)
    await page.until(`document.querySelector('button[aria-label="Show Documentation Explorer"]')`)
    await openDocs()
    await page.until(DOCS)
  })

  test.each(['Authorization', 'authorization', 'AUTHORIZATION'])(
    'sends the header %s with a subscription',
    async (name) => {
      await openGraphiql(gateway, await toSubscription())
      await typeHeaders({ [name]: authorization })
      await run()
      await page.until(`${TEXT}.includes('"status": "SUCCEEDED"')`)
      expect(JSON.parse(page.sent[0] ?? '')).toEqual({
        type: 'connection_init',
        payload: { authorization },
      })
    },
  )

  test.each([
    ['no token', {}],
    ['a wrong token', { Authorization: 'Bearer wrong' }],
  ])('says at once why a subscription with %s is closed', async (_name, headers) => {
    await openGraphiql(gateway, await toSubscription())
    await typeHeaders(headers)
    await run()
    await page.until(`${TEXT}.includes('The server closed the connection')`)
    expect(await response()).toMatch(
      /the token is missing, wrong or expired \(440[13] UNAUTHENTICATED\)\. Enter .*Authorization.* in the Headers tab/,
    )
    expect(await response()).not.toContain('isTrusted')
    // It does not try again.
    expect(page.requests.filter((url) => url.startsWith('ws:'))).toHaveLength(1)
  })
})
