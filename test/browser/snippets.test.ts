import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { Browser } from 'playwright-core'
import { launchChromium } from '../support/chromium.ts'
import { buildClientPage, openClientProject, type ClientPage } from '../support/client-page.ts'
import { startClientSite } from '../support/client-site.ts'
import { startGateway } from '../support/gateway.ts'

/** The endpoint that `openClientProject` replaces by the gateway's. */
const URL_OF_PAGES = 'https://gateway.example.com/graphql'

/** The first code block in a language under a heading of a page of docs/clients. */
async function readSnippet(page: string, heading: string, language: string): Promise<string> {
  const text = await readFile(`docs/clients/${page}.md`, 'utf8')
  const section = text.split(`\n${heading}\n`)[1] ?? ''
  const [, code] = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'ms').exec(section) ?? []
  if (code === undefined) throw new Error(`${page}.md has no ${language} under ${heading}`)
  return code
}

const toPage = (files: Record<string, string>, packages: string[]): ClientPage => ({
  files: new Map(Object.entries(files)),
  packages: ['upscale-gateway-client', ...packages],
  commands: [],
})

/** Adds what the snippet leaves to its reader: the component's place on the page. */
const PAGES = {
  async React() {
    const code = await readSnippet(
      'react-hook',
      '`upscale-gateway-client/react` has two hooks for React 18 and 19. [examples/react](../../examples/react) is a complete app.',
      'tsx',
    )
    const socket = `'${URL_OF_PAGES}'.replace('http', 'ws')`
    return toPage(
      {
        'src/snippet.tsx': `${code.replace("'wss://example.com/graphql'", socket)}\nexport { Upscale }\n`,
        'src/main.tsx': `import { createRoot } from 'react-dom/client'
import { Upscale } from './snippet'
createRoot(document.querySelector('#root')!).render(<Upscale taskId="my-picture" />)
`,
      },
      ['react', 'react-dom', 'graphql-ws', 'graphql'],
    )
  },
  async Vue() {
    return toPage(
      {
        'src/snippet.js': await readSnippet('vue-and-svelte', '## Vue', 'js'),
        'src/main.js': `import { createApp, h } from 'vue'
import { useUpscale } from './snippet.js'
createApp({
  setup() {
    const { upscale, submit } = useUpscale('${URL_OF_PAGES}')
    const onClick = () => submit({ taskId: 'my-picture', imageIndex: 0 })
    return () => [
      h('button', { onClick }, 'Upscale'),
      h('p', upscale.value.status),
      ...(upscale.value.task?.images ?? []).map(({ url }) => h('img', { src: url, alt: '' })),
    ]
  },
}).mount('#root')
`,
      },
      ['vue'],
    )
  },
  async Svelte() {
    return toPage(
      {
        'src/snippet.svelte': await readSnippet('vue-and-svelte', '## Svelte', 'svelte'),
        'src/main.js': `import { mount } from 'svelte'
import Upscale from './snippet.svelte'
mount(Upscale, { target: document.querySelector('#root'), props: { url: '${URL_OF_PAGES}', taskId: 'my-picture' } })
`,
        'vite.config.js': `import { compile } from 'svelte/compiler'
const transform = (code, id) =>
  id.endsWith('.svelte') ? compile(code, { filename: id, generate: 'client' }).js : undefined
export default { plugins: [{ name: 'svelte', transform }], resolve: { conditions: ['browser', 'module', 'import'] } }
`,
      },
      ['svelte'],
    )
  },
}

let browser: Browser
beforeAll(async () => {
  browser = await launchChromium()
})
afterAll(async () => {
  await browser.close()
})

test.each(['React', 'Vue', 'Svelte'] as const)(
  'the code for %s submits, shows the picture, and shows it again after a reload',
  async (framework) => {
    await using site = await startClientSite()
    await using gateway = await startGateway({}, { sandboxCompleteAfterMs: 300 })
    const content = await PAGES[framework]()
    await using project = await openClientProject(content, gateway.url)
    site.serve(await buildClientPage(content, project))
    const page = await browser.newPage()
    const errors: string[] = []
    page.on('pageerror', ({ message }) => errors.push(message))
    await page.goto(site.url)
    await page.getByRole('button', { name: 'Upscale' }).click()
    // A picture without alternative text has no role.
    const picture = page.locator('img')
    await picture.waitFor()
    await picture.evaluate('async (image) => { await image.decode() }')
    await page.reload()
    await picture.waitFor()
    expect(await picture.count()).toBe(1)
    expect(errors).toEqual([])
    await page.close()
  },
)
