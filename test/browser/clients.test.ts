import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { Kind, parse, print, visit, type ASTNode } from 'graphql'
import type { Browser, Locator, Page } from 'playwright-core'
import { launchChromium } from '../support/chromium.ts'
import { buildClientPage, checkTypes, openClientProject, readClientPage } from '../support/client-page.ts'
import { SECRET, startClientSite } from '../support/client-site.ts'
import { startGateway } from '../support/gateway.ts'
import { startSilentProxy } from '../support/proxy.ts'

const LATE = { sandboxCompleteAfterMs: 300 }

/** The page of docs/clients, built and served, before a gateway that a proxy can cut off. */
async function openClient(name: string) {
  await using opened = new AsyncDisposableStack()
  const page = await readClientPage(name)
  const site = opened.use(await startClientSite())
  const settings = { AUTH_JWT_SECRET: SECRET, CORS_ORIGINS: site.url }
  const gateway = opened.use(await startGateway(settings, LATE))
  const proxy = opened.use(await startSilentProxy(gateway.url))
  const project = opened.use(await openClientProject(page, proxy.url.replace(/\/$/, '')))
  site.serve(await buildClientPage(page, project))
  const rest = opened.move()
  return { site, gateway, proxy, project, [Symbol.asyncDispose]: () => rest.disposeAsync() }
}
type Client = Awaited<ReturnType<typeof openClient>>

let browser: Browser
beforeAll(async () => {
  browser = await launchChromium()
})
afterAll(async () => {
  await browser.close()
})

/** What the page logs as an error, or does not catch. */
function watchErrors(page: Page): string[] {
  const errors: string[] = []
  page.on('pageerror', ({ message }) => errors.push(message))
  page.on('console', (message) => {
    // Chromium itself reports connections that the test has cut.
    if (message.type() === 'error' && !/ERR_|WebSocket connection/.test(message.text()))
      errors.push(message.text())
  })
  return errors
}

/** Runs in the page. */
const LOAD = `async (images) => {
  for (const image of images) await image.decode()
  return images.map(({ naturalWidth }) => naturalWidth)
}`

/** Resolves when a section shows this many pictures of the sandbox, which have loaded. */
async function expectPictures(section: Locator, count: number): Promise<void> {
  const images = section.getByRole('img')
  await images.nth(count - 1).waitFor()
  expect(await images.evaluateAll(LOAD)).toEqual(Array.from({ length: count }, () => 1024))
}

/** Code with exactly one error, for the pages in TypeScript. */
const WRONG = new Map(
  [
    ['relay', './__generated__/Task_task.graphql', 'Task_task$data'],
    ['graphql-codegen', './gql/graphql', 'TaskFragment'],
  ].map(([name = '', module, type]) => [
    name,
    `import type { ${type} as Task } from '${module}'
// @ts-expect-error -- The page does not select it.
export const toWidth = ({ images }: Task) => images?.[0]?.width
export const toUrl = ({ images }: Task): string | undefined => images?.[0]?.url
`,
  ]),
)

describe.each(['apollo-client', 'urql', 'relay', 'graphql-codegen', 'event-source'])(
  'the page %s',
  (name) => {
    let client: Client
    let page: Page
    let errors: string[]
    beforeAll(async () => {
      client = await openClient(name)
      page = await browser.newPage()
      errors = watchErrors(page)
    }, 60_000)
    afterAll(async () => {
      await page.close()
      await client[Symbol.asyncDispose]()
      expect(errors).toEqual([])
    })

    const open = async (taskId: string, title: 'One picture' | 'All pictures') => {
      await page.goto(`${client.site.url}/?taskId=${taskId}`)
      const section = page.getByRole('region', { name: title })
      await section.getByRole('button').click()
      return section
    }

    const wrong = WRONG.get(name)
    if (wrong !== undefined)
      test('has exact types: a field that is not selected does not exist', async () => {
        await writeFile(join(client.project.path, 'src/wrong.ts'), wrong)
        await checkTypes(client.project)
      })

    test('submits a picture, and follows it to its end', async () => {
      const section = await open('source', 'One picture')
      await section.getByText('PROCESSING').waitFor()
      await expectPictures(section, 1)
    })

    test('submits four pictures, and follows them in one stream', async () => {
      const section = await open('four', 'All pictures')
      await section.getByText('PROCESSING').nth(3).waitFor()
      await expectPictures(section, 4)
    })

    test.each([
      ['sandbox-code-402', 'INSUFFICIENT_CREDITS'],
      ['sandbox-callback-501', 'GENERATION_FAILED'],
    ])('shows the problem of %s, of one picture and of four', async (taskId, code) => {
      const one = await open(taskId, 'One picture')
      await one.getByRole('alert').filter({ hasText: code }).waitFor()
      const all = await open(taskId, 'All pictures')
      await all.getByRole('alert').filter({ hasText: code }).nth(3).waitFor()
    })

    test('follows over a cut connection and an expired token', async () => {
      client.site.signFor(2)
      const one = await open('sandbox-late-3', 'One picture')
      const all = page.getByRole('region', { name: 'All pictures' })
      await all.getByRole('button').click()
      await one.getByText('PROCESSING').waitFor()
      await all.getByText('PROCESSING').nth(3).waitFor()
      const tokens = client.site.tokens()
      client.proxy.leadTo(client.gateway.url)
      await expectPictures(one, 1)
      await expectPictures(all, 4)
      // One for the connection that was cut, and one after the token has expired.
      expect(client.site.tokens()).toBeGreaterThanOrEqual(tokens + 2)
    })
  },
)

/** The operations of the tests, with the names that Relay requires: they begin with that of the module. */
function toRelayModule(text: string): string {
  const document = visit(parse(text), {
    OperationDefinition: (node) => rename(node, `Operations${node.name?.value}${toSuffix(node.operation)}`),
    FragmentDefinition: (node) => rename(node, `Operations_${node.name.value}`),
    FragmentSpread: (node) => rename(node, `Operations_${node.name.value}`),
  })
  const tags = document.definitions.map((node) => `graphql\`${print(node)}\``)
  return ["import { graphql } from 'react-relay'", `export const all = [${tags.join(', ')}]`].join('\n')
}

const rename = <Node extends ASTNode>(node: Node, value: string) => ({
  ...node,
  name: { kind: Kind.NAME, value },
})

const toSuffix = (operation: string) => `${operation.charAt(0).toUpperCase()}${operation.slice(1)}`

test('relay-compiler compiles every operation of the tests', async () => {
  const page = await readClientPage('relay')
  const operations = toRelayModule(await readFile('test/operations/upscale.graphql', 'utf8'))
  await using project = await openClientProject(
    { ...page, files: new Map([...page.files, ['src/Operations.ts', operations]]) },
    'http://127.0.0.1',
  )
  await project.run('relay-compiler')
  const artifacts = await readdir(join(project.path, 'src/__generated__'))
  const compiled = artifacts.filter((name) => name.startsWith('Operations'))
  expect(compiled).toHaveLength(
    parse(await readFile('test/operations/upscale.graphql', 'utf8')).definitions.length,
  )
})
