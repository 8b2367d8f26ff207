import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { launchChromium } from '../support/chromium.ts'
import { startGateway } from '../support/gateway.ts'
import { openTempDir } from '../support/temp-dir.ts'

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
}

/** Serves a folder at a free port. */
async function serveFolder(folder: string) {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    const path = pathname === '/' ? '/index.html' : pathname
    readFile(folder + path).then(
      (bytes) => response.setHeader('content-type', TYPES[extname(path)] ?? '').end(bytes),
      () => response.writeHead(404).end(),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Builds the example with the client of this repository, for a gateway. */
async function buildExample(folder: string, gateway: string): Promise<void> {
  const client = resolve('client/src')
  const options = {
    root: resolve('examples/react'),
    logLevel: 'error',
    resolve: {
      alias: [
        { find: 'upscale-gateway-client/react', replacement: `${client}/react/index.ts` },
        { find: 'upscale-gateway-client/store', replacement: `${client}/store/index.ts` },
        { find: 'upscale-gateway-client', replacement: `${client}/index.ts` },
      ],
    },
    build: { outDir: folder },
  }
  // In a process of its own: Vite reads VITE_GATEWAY from the environment.
  const script = `import { build } from 'vite'; await build(${JSON.stringify(options)})`
  const env = { ...process.env, NODE_OPTIONS: '', VITE_GATEWAY: gateway }
  await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { env })
}

test('the example app upscales a picture, shows a failure and retries, from an origin of its own', async () => {
  await using dir = await openTempDir()
  await using server = await serveFolder(dir.path)
  await using gateway = await startGateway({ RESULT_INSPECT_MS: '10000' }, { sandboxCompleteAfterMs: 3_000 })
  await buildExample(dir.path, `${gateway.url.replace('http', 'ws')}/graphql`)
  await using browser = await launchChromium()
  const page = await browser.newPage({ viewport: { width: 900, height: 1100 } })
  page.setDefaultTimeout(15_000)
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(error.message))
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text())
  })
  await page.goto(server.origin)
  await page.getByRole('radio', { name: '3' }).check()
  await page.getByRole('button', { name: 'Upscale' }).click()
  await page.waitForSelector('[data-status=PROCESSING]')
  await page.reload()
  await page.waitForSelector('[data-status=SUCCEEDED]')
  const picture = page.getByRole('img', { name: 'The upscaled picture' })
  await picture.waitFor()
  await page.waitForFunction(`document.querySelector('img').naturalWidth > 0`)

  await page.getByRole('combobox', { name: 'Source task' }).fill('sandbox-callback-501')
  await page.getByRole('button', { name: 'Upscale' }).click()
  await page.getByRole('alert').getByText('GENERATION_FAILED').waitFor()
  const first = page.url()
  await page.getByRole('button', { name: 'Try again' }).click()
  await page.waitForURL((url) => url.searchParams.has('upscale') && url.href !== first)
  await page.getByRole('alert').getByText('GENERATION_FAILED').waitFor()
  expect(faults).toEqual([])
}, 90_000)
