import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { describe, expect, test } from '@jest/globals'
import sharp from 'sharp'
import { startGateway } from '../support/gateway.ts'
import { draw } from '../support/picture-files.ts'
import { serve, startPictureServer, type PictureAnswer } from '../support/picture-server.ts'
import { openScene } from '../support/scene.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { waitFor } from '../support/wait-for.ts'

const SECOND = 1_000
const HOUR = 3_600_000
const INSPECT_MS = 5_000

const TASK = `query ($id: ID!) { upscaleTask(id: $id) {
  id version status settledAt
  images { url expiresAt originalUrl copyState width height byteSize contentType sha256 thumbhash enlargement provenance }
  history { status source note } problem { code } } }`
const SOURCE = 'query ($id: ID!) { upscaleTask(id: $id) { sourceImage { url width height thumbhash } } }'
const UPDATES = `subscription ($id: ID!) { taskUpdated(id: $id) { version status images { url copyState width } } }`

interface Shown {
  readonly id: string
  readonly version: number
  readonly status: string
  readonly settledAt: string | null
  readonly images:
    readonly (Record<string, unknown> & { readonly url: string; readonly copyState: string })[] | null
  readonly history: readonly { readonly status: string; readonly source: string; readonly note: string }[]
  readonly problem: { readonly code: string } | null
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

/** A gateway that inspects results and keeps copies, and a server that has a picture. */
async function openGallery(settings: Record<string, string> = {}, answer?: PictureAnswer) {
  await using opened = new AsyncDisposableStack()
  const folder = opened.use(await openTempDir())
  const bytes = await draw().png().toBuffer()
  const pictures = opened.use(await startPictureServer(answer ?? serve(bytes)))
  const scene = opened.use(
    await openScene({
      RESULT_INSPECT_MS: String(INSPECT_MS),
      RESULT_STORE: `file:${folder.path}`,
      RESULT_ALLOW_HOSTS: '127.0.0.1',
      ...settings,
    }),
  )
  const { gateway } = scene
  const read = async (id: string) => {
    const { data } = await gateway.run<{ upscaleTask: Shown | null }, { id: string }>('HTTP', TASK, { id })
    return data?.upscaleTask ?? null
  }
  /** The task, once this holds. */
  const until = async (id: string, holds: (task: Shown) => boolean): Promise<Shown> => {
    const seen: Shown[] = []
    await waitFor(async () => {
      const task = await read(id)
      if (task !== null && holds(task)) seen.push(task)
      return seen.length > 0
    })
    const [task] = seen
    if (task === undefined) throw new Error('There is no such task')
    return task
  }
  const rest = opened.move()
  return {
    ...scene,
    pictures,
    bytes,
    read,
    async readSource(id: string) {
      interface Read {
        readonly upscaleTask: {
          readonly sourceImage: { readonly url: string; readonly width: number } | null
        }
      }
      const { data } = await gateway.run<Read, { id: string }>('HTTP', SOURCE, { id })
      return data?.upscaleTask.sourceImage
    },
    until,
    settled: (id: string) => until(id, ({ status }) => status === 'SUCCEEDED'),
    /** The files of the store. */
    async files() {
      const entries = await readdir(folder.path, { recursive: true, withFileTypes: true })
      return entries.filter((entry) => entry.isFile()).map(({ name }) => name)
    },
    remove: (id: string) =>
      gateway.run<{ deleteUpscaleTask: string | null }, { id: string }>(
        'HTTP',
        'mutation ($id: ID!) { deleteUpscaleTask(id: $id) }',
        { id },
      ),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** Holds every answer until it is released. */
function hold(answer: PictureAnswer) {
  const asked = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  const held: PictureAnswer = (response, request) => {
    asked.resolve()
    void released.promise.then(() => answer(response, request))
  }
  return { held, asked: asked.promise, release: () => released.resolve() }
}

describe('a result', () => {
  test('succeeds with facts measured from its bytes, and a link that does not expire', async () => {
    await using gallery = await openGallery()
    const { id, succeed } = await gallery.submit()
    await succeed(`${gallery.pictures.url}/a.png`)
    const { images, history } = await gallery.settled(id)
    expect(images).toEqual([
      {
        url: expect.stringMatching(`^${gallery.gateway.url}/results/${id}/0/[\\w-]{43}$`),
        expiresAt: null,
        originalUrl: `${gallery.pictures.url}/a.png`,
        copyState: 'KEPT',
        width: 120,
        height: 80,
        byteSize: gallery.bytes.length,
        contentType: 'image/png',
        sha256: sha256(gallery.bytes),
        thumbhash: expect.stringMatching(/^[\w+/]{20,}={0,2}$/),
        enlargement: null,
        provenance: 'NONE',
      },
    ])
    const copy = await fetch(images?.[0]?.url ?? '')
    expect(Buffer.from(await copy.arrayBuffer()).equals(gallery.bytes)).toBe(true)
    expect(history.slice(-2)).toEqual([
      { status: 'PROCESSING', source: 'CALLBACK', note: 'the result is ready; its inspection begins' },
      { status: 'SUCCEEDED', source: 'INSPECTION', note: 'done: inspected; a copy is kept' },
    ])
  })

  test('the callback is answered at once; the task stays PROCESSING until the picture is inspected', async () => {
    await using gallery = await openGallery()
    const { held, asked, release } = hold(gallery.pictures.answer)
    gallery.pictures.answer = held
    const { id, succeed } = await gallery.submit()
    const events: unknown[] = []
    const stream = (async () => {
      for await (const { data } of gallery.gateway.socket.iterate({ query: UPDATES, variables: { id } }))
        events.push(data?.taskUpdated)
    })()
    await succeed(`${gallery.pictures.url}/a.png`)
    await asked
    expect(await gallery.read(id)).toMatchObject({ status: 'PROCESSING', version: 2, images: null })
    release()
    await stream
    expect(events).toEqual([
      { version: 2, status: 'PROCESSING', images: null },
      {
        version: 3,
        status: 'SUCCEEDED',
        images: [{ url: expect.stringContaining('/results/'), copyState: 'KEPT', width: 120 }],
      },
    ])
  })

  test('that is not inspected in time succeeds with the upstream’s link; facts and copy follow as a new version', async () => {
    await using gallery = await openGallery()
    const { held, asked, release } = hold(gallery.pictures.answer)
    gallery.pictures.answer = held
    const { id, succeed } = await gallery.submit()
    const url = `${gallery.pictures.url}/a.png`
    await succeed(url)
    await asked
    gallery.clock.advance(INSPECT_MS - 1)
    expect(await gallery.read(id)).toMatchObject({ status: 'PROCESSING' })
    gallery.clock.advance(1)
    const early = await gallery.settled(id)
    expect(early).toMatchObject({
      version: 3,
      images: [{ url, copyState: 'PENDING', width: null, sha256: null }],
    })
    expect(early.images?.[0]?.expiresAt).not.toBeNull()
    expect(early.history.at(-1)?.note).toBe('done: not inspected in time')
    release()
    const late = await gallery.until(id, ({ version }) => version === 4)
    expect(late).toMatchObject({ status: 'SUCCEEDED', settledAt: early.settledAt })
    expect(late.images).toMatchObject([{ copyState: 'KEPT', width: 120, expiresAt: null }])
  })

  test('facts that are known at the deadline are shown, even if the copy is not ready', async () => {
    await using gallery = await openGallery()
    const { held, asked, release } = hold(gallery.pictures.answer)
    const answer = gallery.pictures.answer
    gallery.pictures.answer = (response, request) =>
      (request.url === '/a.png' ? answer : held)(response, request)
    const { id, succeed } = await gallery.submit()
    await succeed(`${gallery.pictures.url}/a.png`, `${gallery.pictures.url}/b.png`)
    await asked
    await waitFor(async () => (await gallery.files()).includes(sha256(gallery.bytes)))
    gallery.clock.advance(INSPECT_MS)
    expect((await gallery.settled(id)).images).toMatchObject([{ width: 120 }, { width: null }])
    release()
    const { images } = await gallery.until(id, (task) => task.images?.[1]?.copyState === 'KEPT')
    expect(images).toMatchObject([{ copyState: 'KEPT' }, { copyState: 'KEPT', width: 120 }])
    // The same bytes are stored once.
    expect(await gallery.files()).toEqual([sha256(gallery.bytes)])
  })

  test('without inspection the task succeeds with its callback, and the copy follows', async () => {
    await using gallery = await openGallery({ RESULT_INSPECT_MS: '0' })
    const { id, succeed } = await gallery.submit()
    await succeed(`${gallery.pictures.url}/a.png`)
    expect(await gallery.read(id)).toMatchObject({ status: 'SUCCEEDED' })
    const { images, history } = await gallery.until(id, (task) => task.images?.[0]?.copyState === 'KEPT')
    expect(images).toMatchObject([{ width: 120 }])
    expect(history.slice(-2)).toMatchObject([
      { source: 'CALLBACK', note: 'done' },
      { source: 'INSPECTION', note: 'inspected; a copy is kept' },
    ])
  })

  test('without a store it has facts, and the upstream’s link', async () => {
    await using gallery = await openGallery({ RESULT_STORE: 'off' })
    const { id, succeed } = await gallery.submit()
    const url = `${gallery.pictures.url}/a.png`
    await succeed(url)
    expect(await gallery.settled(id)).toMatchObject({ images: [{ url, copyState: 'OFF', width: 120 }] })
  })

  test('with neither, nothing is downloaded', async () => {
    await using gallery = await openGallery({ RESULT_STORE: 'off', RESULT_INSPECT_MS: '0' })
    const { id, succeed } = await gallery.submit()
    await succeed(`${gallery.pictures.url}/a.png`)
    expect(await gallery.read(id)).toMatchObject({ status: 'SUCCEEDED', images: [{ copyState: 'OFF' }] })
    expect(gallery.pictures.received).toEqual([])
  })

  test('of a task that had failed by its deadline makes it succeed after all', async () => {
    await using gallery = await openGallery({ TASK_DEADLINE_MS: '40000' })
    gallery.upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
    const { id, succeed } = await gallery.submit()
    await waitFor(async () => {
      gallery.clock.advance(SECOND)
      return (await gallery.read(id))?.status === 'FAILED'
    })
    await succeed(`${gallery.pictures.url}/a.png`)
    // The polls have left none for the source image.
    await waitFor(() => gallery.pictures.received.length > 0)
    gallery.clock.advance(SECOND)
    const task = await gallery.settled(id)
    expect(task).toMatchObject({ problem: null, images: [{ copyState: 'KEPT' }] })
    expect(task.history.at(-1)?.note).toBe('done after all: inspected; a copy is kept')
  })
})

describe('a picture that cannot be used', () => {
  test.each<[string, PictureAnswer, string]>([
    [
      'an HTML page with status 200',
      serve('<!doctype html><p>Sorry', { 'content-type': 'text/html' }),
      'HTML page',
    ],
    ['an answer 404', (response) => response.writeHead(404).end(), 'the status 404'],
    ['a dropped connection', (response) => response.destroy(), ''],
  ])(
    '%s: the task succeeds at once without facts, and the copy is retried',
    async (_name, answer, reason) => {
      await using gallery = await openGallery({}, answer)
      const { id, succeed } = await gallery.submit()
      const url = `${gallery.pictures.url}/a.png`
      await succeed(url)
      const task = await gallery.settled(id)
      expect(task.images).toMatchObject([{ url, copyState: 'PENDING', width: null }])
      expect(task.history.at(-1)?.note).toMatch(`done: not inspected: `)
      expect(task.history.at(-1)?.note).toContain(reason)
      expect(gallery.gateway.log()).toContain('a result could not be inspected')

      gallery.pictures.answer = serve(gallery.bytes)
      const downloads = gallery.pictures.received.length
      gallery.clock.advance(4 * SECOND)
      expect(gallery.pictures.received).toHaveLength(downloads)
      gallery.clock.advance(2 * SECOND)
      const kept = await gallery.until(id, ({ version }) => version > task.version)
      expect(kept.images).toMatchObject([{ copyState: 'KEPT', width: 120 }])
    },
  )

  test('that cannot be downloaded is retried until the upstream’s link expires, and is then lost', async () => {
    await using gallery = await openGallery({}, (response) => response.writeHead(503).end())
    const { id, succeed } = await gallery.submit()
    await succeed(`${gallery.pictures.url}/a.png`)
    const { version } = await gallery.settled(id)
    const attempts = () => gallery.gateway.log().split('"report":"inspected"').length - 1
    while ((await gallery.read(id))?.images?.[0]?.copyState === 'PENDING') {
      const before = attempts()
      gallery.clock.advance(1.2 * HOUR)
      await waitFor(() => attempts() > before)
    }
    expect(attempts()).toBeGreaterThan(10)
    expect(attempts()).toBeLessThan(30)
    expect(await gallery.read(id)).toMatchObject({
      status: 'SUCCEEDED',
      version: version + 1,
      images: [{ copyState: 'LOST', width: null }],
    })
  })

  test('an SVG drawing is lost at once', async () => {
    await using gallery = await openGallery(
      {},
      serve('<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>'),
    )
    const { id, succeed } = await gallery.submit()
    await succeed(`${gallery.pictures.url}/a.png`)
    const { images, history } = await gallery.settled(id)
    expect(images).toMatchObject([{ copyState: 'LOST', contentType: null }])
    expect(history.at(-1)?.note).toMatch(/^done: no copy is kept: .*SVG/)
    expect(await gallery.files()).toEqual([])
  })

  test('nothing is requested from a private address', async () => {
    await using gallery = await openGallery({ RESULT_ALLOW_HOSTS: '' })
    const { id, succeed } = await gallery.submit()
    await succeed(`${gallery.pictures.url}/a.png`)
    expect(await gallery.settled(id)).toMatchObject({ images: [{ width: null }] })
    expect(gallery.pictures.received).toEqual([])
    expect(gallery.gateway.log()).toContain('the host has no public address')
  })
})

describe('the source image', () => {
  const grid = (gallery: { pictures: { url: string } }, count = 4) =>
    json(200, {
      code: 200,
      data: {
        successFlag: 1,
        resultInfoJson: {
          resultUrls: Array.from({ length: count }, (_, index) => ({
            resultUrl: `${gallery.pictures.url}/source-${index}.png`,
          })),
        },
      },
    })
  const small = () => sharp({ create: { width: 30, height: 20, channels: 3, background: 'red' } })

  test('is that of the source task, and gives the enlargement of the result', async () => {
    await using gallery = await openGallery()
    const source = await small().png().toBuffer()
    gallery.pictures.answer = (response, request) =>
      serve(request.url?.includes('source') ? source : gallery.bytes)(response, request)
    gallery.upstream.onLookup = grid(gallery)
    const { id, succeed } = await gallery.submit()
    await succeed(`${gallery.pictures.url}/a.png`)
    // On a busy machine the source image can come after SUCCEEDED: the factor is computed when it is read.
    const known = await gallery.until(id, (task) => typeof task.images?.[0]?.enlargement === 'number')
    expect(known).toMatchObject({ status: 'SUCCEEDED', images: [{ width: 120, enlargement: 4 }] })
    expect(await gallery.readSource(id)).toEqual({
      url: `${gallery.pictures.url}/source-0.png`,
      width: 30,
      height: 20,
      thumbhash: expect.any(String),
    })
  })

  test('is loaded once, when it is first selected', async () => {
    await using gallery = await openGallery({ RESULT_INSPECT_MS: '0', RESULT_STORE: 'off' })
    gallery.upstream.onLookup = grid(gallery)
    const { id } = await gallery.submit()
    const select = () => gallery.readSource(id)
    await Promise.all([select(), select(), select()])
    // Loading that takes longer than a second continues in the background.
    await waitFor(async () => (await select()) !== null)
    const loaded = await select()
    expect(loaded).toMatchObject({ width: 120 })
    gallery.clock.advance(10 * HOUR)
    expect(await select()).toEqual(loaded)
    expect(gallery.pictures.received).toHaveLength(1)
  })

  test('of many tasks are loaded one after the other, as fast as the polls allow', async () => {
    await using upstream = await startScriptedUpstream()
    await using pictures = await startPictureServer(serve(await draw().png().toBuffer()))
    upstream.onLookup = grid({ pictures })
    const settings = { UPSTREAM_URL: upstream.url, RESULT_ALLOW_HOSTS: '127.0.0.1' }
    await using gateway = await startGateway(settings)
    const SUBMIT = `mutation ($taskId: ID!) {
      upscaleImage(input: { taskId: $taskId, imageIndex: 0 }) { task { id sourceImage { width } } } }`
    const LIST = '{ upscaleTasks { edges { node { sourceImage { width } } } } }'
    interface Listed {
      readonly upscaleTasks: { readonly edges: { readonly node: { readonly sourceImage: object | null } }[] }
    }
    for (let n = 0; n < 6; n += 1) await gateway.run('HTTP', SUBMIT, { taskId: `source-${n}` })
    await waitFor(async () => {
      const { data } = await gateway.run<Listed, Record<string, never>>('HTTP', LIST)
      return data?.upscaleTasks.edges.every(({ node }) => node.sourceImage !== null) ?? false
    })
  })

  test.each([
    ['the source task is not known', json(200, { code: 422, msg: 'recordInfo is null', data: null })],
    ['the upstream fails', json(500, 'no')],
  ])('is null if %s', async (_name, answer) => {
    await using gallery = await openGallery()
    gallery.upstream.onLookup = answer
    const { id } = await gallery.submit()
    expect(await gallery.readSource(id)).toBeNull()
    expect(await gallery.readSource(id)).toBeNull()
    expect(gallery.upstream.received.filter(({ method }) => method === 'GET')).toHaveLength(1)
  })

  test('is null if the source has one picture: a grid', async () => {
    await using gallery = await openGallery()
    gallery.upstream.onLookup = grid(gallery, 1)
    const { id } = await gallery.submit()
    expect(await gallery.readSource(id)).toBeNull()
  })
})

describe('deleteUpscaleTask', () => {
  test('deletes the task, and with the last task that uses it a copy and its renditions', async () => {
    await using gallery = await openGallery()
    const tasks = [await gallery.submit(), await gallery.submit()]
    const [first, second] = await Promise.all(
      tasks.map(async ({ id, succeed }) => {
        await succeed(`${gallery.pictures.url}/a.png`)
        return gallery.settled(id)
      }),
    )
    const link = first?.images?.[0]?.url ?? ''
    const hash = sha256(gallery.bytes)
    expect((await fetch(`${link}?width=256`)).status).toBe(200)
    expect((await gallery.files()).sort()).toEqual([hash, `${hash}-256.webp`])

    expect(await gallery.remove(first?.id ?? '')).toEqual({ data: { deleteUpscaleTask: first?.id } })
    expect((await fetch(link)).status).toBe(404)
    expect((await fetch(second?.images?.[0]?.url ?? '')).status).toBe(200)
    expect(await gallery.read(first?.id ?? '')).toBeNull()

    await gallery.remove(second?.id ?? '')
    await waitFor(async () => (await gallery.files()).length === 0)
  })

  test('refuses a task that has not settled, and one that does not exist', async () => {
    await using gallery = await openGallery()
    const { id } = await gallery.submit()
    const { data, errors } = await gallery.remove(id)
    expect([data, errors?.[0]?.extensions.code]).toEqual([{ deleteUpscaleTask: null }, 'TASK_RUNNING'])
    expect((await gallery.remove('nobody')).errors?.[0]?.extensions.code).toBe('TASK_NOT_FOUND')
    expect(await gallery.read(id)).toMatchObject({ status: 'PROCESSING' })
  })

  test('while its copy is being made leaves no file behind', async () => {
    await using gallery = await openGallery()
    const { held, asked, release } = hold(gallery.pictures.answer)
    gallery.pictures.answer = held
    const { id, succeed } = await gallery.submit()
    await succeed(`${gallery.pictures.url}/a.png`)
    await asked
    gallery.clock.advance(INSPECT_MS)
    await gallery.settled(id)
    await gallery.remove(id)
    release()
    await waitFor(async () => (await gallery.pictures.connections()) === 0)
    gallery.clock.advance(10 * SECOND)
    await waitFor(async () => (await gallery.files()).length === 0)
  })

  test('copies go with their task at the end of its retention', async () => {
    await using gallery = await openGallery({ TASK_RETENTION_DAYS: '1' })
    const { id, succeed } = await gallery.submit()
    await succeed(`${gallery.pictures.url}/a.png`)
    await gallery.settled(id)
    expect(await gallery.files()).toHaveLength(1)
    gallery.clock.advance(25 * HOUR)
    await waitFor(async () => (await gallery.read(id)) === null)
    gallery.clock.advance(10 * SECOND)
    await waitFor(async () => (await gallery.files()).length === 0)
  })
})
