import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { print } from 'graphql'
import { SignJWT } from 'jose'
import sharp from 'sharp'
import { FollowPicturesDocument, type FollowPicturesSubscription } from '../generated/operations.ts'
import { openBrowser, type Page } from '../support/browser.ts'
import { startKeeper, type Keeper } from '../support/kept.ts'
import { openStage, toPngChunk } from '../support/picture-stage.ts'
import { openTempDir } from '../support/temp-dir.ts'

const SECRET = 'a-secret-of-at-least-thirty-two-bytes'

let page: Page
beforeAll(async () => {
  page = await openBrowser(process.env.CHROMIUM ?? 'chromium')
})
afterAll(async () => {
  await page[Symbol.asyncDispose]()
})

/** A site of another origin: an empty page, and a module that draws placeholders. */
async function startSite() {
  const module = await readFile(new URL('../../node_modules/thumbhash/thumbhash.js', import.meta.url), 'utf8')
  const server = createServer(({ url }, response) => {
    const [type, body] =
      url === '/thumbhash.js'
        ? ['text/javascript', module]
        : ['text/html', '<!doctype html><title>site</title>']
    response.writeHead(200, { 'content-type': type }).end(body)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Runs the body of an async function in the page. */
const run = <T>(body: string, ...args: unknown[]) =>
  page.evaluate<T>(`(async (...args) => { ${body} })(...${JSON.stringify(args)})`)

/** JavaScript for the page: an image element, once it has loaded. */
const LOAD = `const load = (url, crossOrigin = null) => new Promise((resolve, reject) => {
  const image = Object.assign(new Image(), { crossOrigin, onload: () => resolve(image), onerror: reject })
  image.src = url
  document.body.append(image)
});`

/**
 * Draws the image of a URL on a canvas and reads it back: its size, the hash of its pixels, and a PNG of it.
 */
const READ_BACK = `${LOAD}
  const image = await load(args[0], 'anonymous')
  const { naturalWidth: width, naturalHeight: height } = image
  const canvas = Object.assign(document.createElement('canvas'), { width, height })
  const context = canvas.getContext('2d')
  context.drawImage(image, 0, 0)
  const { data } = context.getImageData(0, 0, width, height)
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', data))
  const blob = await new Promise((resolve) => canvas.toBlob(resolve))
  return { width, height, pixels: digest.toHex(), type: blob.type, size: blob.size }`

describe('a page of another origin', () => {
  let site: Awaited<ReturnType<typeof startSite>>
  let keeper: Keeper
  beforeAll(async () => {
    site = await startSite()
    keeper = await startKeeper()
  })
  afterAll(async () => {
    await keeper[Symbol.asyncDispose]()
    await site[Symbol.asyncDispose]()
  })

  test('draws a copy on a canvas and reads back the pixels of the file', async () => {
    const { picture } = await keeper.upscale()
    await page.open(site.url)
    const file = Buffer.from(await (await fetch(picture.url)).arrayBuffer())
    const pixels = await sharp(file).ensureAlpha().raw().toBuffer()
    const digest = Buffer.from(await crypto.subtle.digest('SHA-256', pixels)).toString('hex')
    const drawn = await run<{ size: number }>(READ_BACK, picture.url)
    expect(drawn).toMatchObject({ width: 1024, height: 1024, pixels: digest, type: 'image/png' })
    expect(drawn.size).toBeGreaterThan(1_000)
    // The original of the upstream cannot be read: this is what the copy is for.
    await expect(run(READ_BACK, picture.originalUrl)).rejects.toThrow()
  })

  test.each([256, 512, 1024])('shows a WebP of %i pixels, and reads it back', async (width) => {
    const { picture } = await keeper.upscale()
    await page.open(site.url)
    expect(await run(READ_BACK, `${picture.url}?width=${width}`)).toMatchObject({ width, height: width })
    const type = `return (await fetch(args[0])).headers.get('content-type')`
    expect(await run(type, `${picture.url}?width=${width}`)).toBe('image/webp')
  })

  test('reads the headers and a range of the picture', async () => {
    const { picture } = await keeper.upscale()
    await page.open(site.url)
    const read = `const { status, headers } = await fetch(args[0], { headers: { range: 'bytes=0-7' } })
      return [status, headers.get('etag'), headers.get('content-range')]`
    expect(await run(read, picture.url)).toEqual([
      206,
      `"${picture.sha256}"`,
      `bytes 0-7/${picture.byteSize}`,
    ])
  })
})

/** Submits an upscale as Ann. Resolves to what she may share. */
async function submitAsAnn({ gateway }: Keeper) {
  const jwt = new SignJWT({ sub: 'ann' }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h')
  const token = await jwt.sign(new TextEncoder().encode(SECRET))
  const query =
    'mutation { upscaleImage(input: { taskId: "sandbox-late-1", imageIndex: 0 }) { watchToken task { id } } }'
  const response = await fetch(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query }),
  })
  const { data } = (await response.json()) as {
    data: { upscaleImage: { watchToken: string; task: { id: string } } }
  }
  return { id: data.upscaleImage.task.id, watchToken: data.upscaleImage.watchToken }
}

/** The share page: follows a task, draws the placeholder at once, and then the picture. */
const SHARE = `${LOAD}
  const [url, query, variables] = args
  const { thumbHashToDataURL } = await import('/thumbhash.js')
  const socket = new WebSocket(url.replace('http', 'ws') + '/graphql', 'graphql-transport-ws')
  const send = (message) => socket.send(JSON.stringify(message))
  socket.onopen = () => send({ type: 'connection_init', payload: { watchToken: variables.watchToken } })
  const tasks = []
  await new Promise((resolve, reject) => {
    socket.onclose = ({ code, reason }) => reject(new Error(code + ' ' + reason))
    socket.onmessage = ({ data }) => {
      const { type, payload } = JSON.parse(data)
      if (type === 'connection_ack') send({ id: '1', type: 'subscribe', payload: { query, variables } })
      if (type === 'next') tasks.push(payload.data.taskUpdated)
      if (type === 'error') reject(new Error(JSON.stringify(payload)))
      if (type === 'complete') resolve()
    }
  })
  socket.onclose = null
  const { url: link, thumbhash } = tasks.at(-1).images[0]
  const placeholder = await load(thumbHashToDataURL(Uint8Array.fromBase64(thumbhash)))
  const sizeOf = ({ naturalWidth, naturalHeight }) => [naturalWidth, naturalHeight]
  return { tasks, placeholder: sizeOf(placeholder), picture: sizeOf(await load(link)) }`

interface Shared {
  readonly tasks: NonNullable<FollowPicturesSubscription['taskUpdated']>[]
  readonly placeholder: [number, number]
  readonly picture: [number, number]
}

test('a share page with only a watch token follows the task, and draws the placeholder, then the picture', async () => {
  await using site = await startSite()
  await using keeper = await startKeeper({
    AUTH_JWT_SECRET: SECRET,
    WATCH_TOKEN_SECRETS: 'a-secret-for-the-tokens-of-share-pages',
    CORS_ORIGINS: site.url,
  })
  const { id, watchToken } = await submitAsAnn(keeper)
  await page.open(site.url)
  const query = print(FollowPicturesDocument)
  const shared = await run<Shared>(SHARE, keeper.gateway.url, query, { id, watchToken })
  expect(shared.tasks.map(({ status }) => status)).toEqual(['PROCESSING', 'SUCCEEDED'])
  const image = shared.tasks.at(-1)?.images?.[0]
  expect(image).toMatchObject({ copyState: 'KEPT', width: 1024, height: 1024, enlargement: 4 })
  expect(image?.url.startsWith(`${keeper.gateway.url}/results/`)).toBe(true)
  expect(shared.picture).toEqual([image?.width, image?.height])
  expect(shared.placeholder).toEqual([32, 32])
})

describe('a copy that is also valid HTML', () => {
  /** A PNG whose text is HTML with a script, from an upstream that says nothing of its type. */
  async function keepPolyglot() {
    const stage = await openStage()
    const png = await sharp({ create: { width: 64, height: 64, channels: 3, background: 'teal' } })
      .png()
      .toBuffer()
    const script =
      '<html><body><script>document.title = "it has run"; self.hasRun = true</script></body></html>'
    const chunk = toPngChunk('teXt', `\n${script}\n`)
    stage.files.set('/pictures/a', Buffer.concat([png.subarray(0, 33), chunk, png.subarray(33)]))
    const { id } = await stage.succeed('/pictures/a')
    return { stage, picture: await stage.keeper.follow(id) }
  }

  test('does not run: it is shown as a picture, in a sandbox, and other pages cannot load it as a script', async () => {
    const { stage, picture } = await keepPolyglot()
    await using _stage = stage
    await using site = await startSite()
    expect(picture.copyState).toBe('KEPT')
    await page.open(picture.url)
    expect(
      await run(
        `return [document.contentType, self.origin, self.hasRun ?? false, document.images[0].naturalWidth]`,
      ),
    ).toEqual(['image/png', 'null', false, 64])
    await page.open(site.url)
    const load = `return new Promise((resolve) => {
      const script = Object.assign(document.createElement('script'), {
        src: args[0], onload: () => resolve('run'), onerror: () => resolve('refused'),
      })
      document.body.append(script)
    })`
    expect(await run(load, picture.url)).toBe('refused')
  })
})

test('?download saves the file under a readable name', async () => {
  await using folder = await openTempDir()
  await using keeper = await startKeeper()
  const { picture } = await keeper.upscale('my-picture')
  for (const [query, name] of [
    ['download', 'upscale-my-picture-0.png'],
    ['download&width=256', 'upscale-my-picture-0-256.webp'],
  ] as const) {
    expect(await page.download(`${picture.url}?${query}`, folder.path)).toBe(name)
    const served = Buffer.from(await (await fetch(`${picture.url}?${query}`)).arrayBuffer())
    expect(served.equals(await readFile(`${folder.path}/${name}`))).toBe(true)
  }
})
