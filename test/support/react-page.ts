import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, resolve } from 'node:path'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import { openTempDir } from './temp-dir.ts'

const { resolve: find } = createRequire(import.meta.url)

/** The folders of both versions of React. */
const FOLDERS = {
  18: ['test/browser/node_modules/react-18', 'test/browser/node_modules/react-dom-18'],
  19: [dirname(find('react/package.json')), dirname(find('react-dom/package.json'))],
} as const

/** Bundles a page of test/browser/hooks with this version of React, and serves it at a free port. */
export async function servePage(name: string, version: keyof typeof FOLDERS) {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const [react, reactDom] = FOLDERS[version]
  await promisify(execFile)('node_modules/.bin/esbuild', [
    `test/browser/hooks/${name}.tsx`,
    '--bundle',
    '--format=esm',
    '--jsx=automatic',
    '--define:process.env.NODE_ENV="development"',
    `--alias:react=${resolve(react)}`,
    `--alias:react-dom=${resolve(reactDom)}`,
    `--outfile=${dir.path}/page.js`,
  ])
  const script = await readFile(`${dir.path}/page.js`)
  const server = createServer(({ url }, response) => {
    const isScript = url === '/page.js'
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
    response.end(isScript ? script : '<!doctype html><script type="module" src="/page.js"></script>')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  opened.defer(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  const rest = opened.move()
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
