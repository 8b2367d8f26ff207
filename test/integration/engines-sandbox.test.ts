/** Each engine, from the submit to the kept copy, through the embedded sandbox that speaks its dialect. */
import { createHash } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import sharp from 'sharp'
import type { Overrides } from '../../src/service.ts'
import { collect, startGateway } from '../support/gateway.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { waitFor } from '../support/wait-for.ts'

const ALL = ['kie-midjourney', 'kie-jobs', 'midjourney-proxy', 'legnext'] as const
type EngineName = (typeof ALL)[number]

const TASK = `id status version engine creditsConsumed
  problem { code upstreamCode }
  images { url copyState width height byteSize contentType sha256 }
  sourceImage { url width height }
  history { status source note }`

interface Task {
  readonly id: string
  readonly status: string
  readonly version: number
  readonly engine: string
  readonly creditsConsumed: number | null
  readonly problem: { readonly code: string; readonly upstreamCode: number | null } | null
  readonly images:
    | readonly {
        readonly url: string
        readonly copyState: string
        readonly width: number | null
        readonly height: number | null
        readonly byteSize: number | null
        readonly contentType: string | null
        readonly sha256: string | null
      }[]
    | null
  readonly sourceImage: { readonly url: string; readonly width: number; readonly height: number } | null
  readonly history: readonly { readonly status: string; readonly source: string; readonly note: string }[]
}

/** A gateway whose embedded sandbox plays all engines. */
async function openScene(settings: Record<string, string> = {}, overrides: Overrides = {}) {
  const gateway = await startGateway({ ENGINES: ALL.join(), ...settings }, overrides)
  const read = async (id: string): Promise<Task> => {
    const { data } = await gateway.run<{ upscaleTask: Task | null }, { id: string }>(
      'HTTP',
      `query ($id: ID!) { upscaleTask(id: $id) { ${TASK} } }`,
      { id },
    )
    if (!data?.upscaleTask) throw new Error('There is no such task')
    return data.upscaleTask
  }
  return {
    gateway,
    read,
    async submit(engine: EngineName, taskId: string, changes: object = {}): Promise<Task> {
      const { data, errors } = await gateway.run<
        { upscaleImage: { task: Task | null; problem: object | null } },
        { input: object }
      >(
        'HTTP',
        `mutation ($input: UpscaleImageInput!) { upscaleImage(input: $input) { problem { code } task { ${TASK} } } }`,
        { input: { taskId, imageIndex: 1, engine, ...changes } },
      )
      const task = data?.upscaleImage.task
      if (!task) throw new Error(JSON.stringify(errors ?? data))
      return task
    },
    /** The task, once it has settled. */
    async settle({ id }: Pick<Task, 'id'>): Promise<Task> {
      await waitFor(async () => ['SUCCEEDED', 'FAILED'].includes((await read(id)).status))
      return read(id)
    },
    /** What a subscription has sent, to its end. */
    async follow({ id }: Pick<Task, 'id'>): Promise<unknown[]> {
      const query = `subscription { taskUpdated(id: "${id}") { version engine creditsConsumed } }`
      const results = await collect(gateway.socket.iterate<{ taskUpdated: unknown }>({ query }))
      return results.map(({ data }) => data?.taskUpdated)
    },
    /** How many requests of an operation an engine was sent. */
    async countRequests(engine: EngineName, operation: string): Promise<number> {
      const metrics = await (await fetch(`${gateway.url}/metrics`)).text()
      return metrics
        .split('\n')
        .filter((line) => line.startsWith('upscale_upstream_seconds_count'))
        .filter((line) => line.includes(`engine="${engine}"`) && line.includes(`operation="${operation}"`))
        .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
    },
    [Symbol.asyncDispose]: () => gateway[Symbol.asyncDispose](),
  }
}

/** What a task costs, where the engine reports it. */
const CREDITS: Partial<Record<EngineName, number>> = { 'kie-jobs': 10, legnext: 20 }

const ACCEPTED = [
  { status: 'SUBMITTED', source: 'SUBMIT', note: 'submitted' },
  { status: 'PROCESSING', source: 'SUBMIT', note: 'accepted by the upscale service' },
]

describe.each(ALL)('%s', (engine) => {
  test('upscales, measures the picture, and keeps a copy, with its source', async () => {
    await using folder = await openTempDir()
    await using scene = await openScene({ RESULT_INSPECT_MS: '30000', RESULT_STORE: `file:${folder.path}` })
    const task = await scene.settle(await scene.submit(engine, 'source'))
    const { status, images, creditsConsumed } = task
    expect({ status, engine: task.engine }).toEqual({ status: 'SUCCEEDED', engine })
    expect(creditsConsumed).toBe(CREDITS[engine] ?? null)
    expect(images).toHaveLength(1)
    const [image] = images ?? []
    const response = await fetch(image?.url ?? '')
    const bytes = Buffer.from(await response.arrayBuffer())
    const { width, height } = await sharp(bytes).metadata()
    expect(image).toEqual({
      url: expect.stringMatching(`^${scene.gateway.url}/results/${task.id}/0/`),
      copyState: 'KEPT',
      width,
      height,
      byteSize: bytes.length,
      contentType: 'image/png',
      sha256: createHash('sha256').update(bytes).digest('hex'),
    })
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'image/png'])
    if (engine === 'midjourney-proxy') {
      // It has one picture for all four, so there is none of the source.
      expect(task.sourceImage).toBeNull()
      return
    }
    await waitFor(async () => (await scene.read(task.id)).sourceImage !== null)
    const source = (await scene.read(task.id)).sourceImage
    expect((await fetch(source?.url ?? '')).status).toBe(200)
    expect(source?.width).toBeGreaterThan(0)
  })

  test('settles by its callback, after one event, without a poll', async () => {
    await using scene = await openScene({}, { sandboxCompleteAfterMs: 400 })
    const submitted = await scene.submit(engine, 'source')
    const states = await scene.follow(submitted)
    expect(submitted.version).toBe(2)
    // The subscription may begin after the end.
    const [running, settled] = [
      { version: 2, engine, creditsConsumed: null },
      { version: 3, engine, creditsConsumed: CREDITS[engine] ?? null },
    ]
    expect([[running, settled], [settled]]).toContainEqual(states)
    const { history } = await scene.read(submitted.id)
    expect(history.slice(0, 2)).toEqual(ACCEPTED)
    expect(history.slice(2)).toMatchObject([{ status: 'SUCCEEDED', source: 'CALLBACK' }])
    expect(await scene.countRequests(engine, 'lookup')).toBe(0)
    expect(await scene.countRequests(engine, 'submit')).toBe(1)
    expect(await countCallbacks(scene.gateway.url)).toEqual(
      engine === 'midjourney-proxy' ? [['200', 4]] : [['200', 1]],
    )
  })

  test('settles by a poll when its callback is lost', async () => {
    await using scene = await openScene({ POLL_INTERVAL_MS: '50' })
    const { status, history } = await scene.settle(await scene.submit(engine, 'sandbox-lost'))
    expect(status).toBe('SUCCEEDED')
    expect(history.at(-1)).toMatchObject({ status: 'SUCCEEDED', source: 'POLL' })
  })

  test('settles once when its callback is repeated, or is earlier than the answer', async () => {
    await using scene = await openScene()
    for (const source of ['sandbox-duplicate', 'sandbox-early']) {
      const { status, history } = await scene.settle(await scene.submit(engine, source))
      expect([source, status]).toEqual([source, 'SUCCEEDED'])
      expect(history.filter((entry) => entry.status === 'SUCCEEDED')).toHaveLength(1)
    }
  })

  test('fails by its callback, with the code of the engine', async () => {
    await using scene = await openScene()
    const { status, problem, history } = await scene.settle(
      await scene.submit(engine, 'sandbox-callback-500'),
    )
    expect(status).toBe('FAILED')
    expect(problem).toEqual(
      engine === 'midjourney-proxy'
        ? { code: 'GENERATION_FAILED', upstreamCode: null }
        : { code: 'UPSTREAM_SERVER_ERROR', upstreamCode: 500 },
    )
    expect(history.at(-1)).toMatchObject({ status: 'FAILED', source: 'CALLBACK' })
  })

  test('settles although the answer to its submit is lost', async () => {
    await using scene = await openScene()
    const submitted = await scene.submit(engine, `sandbox-${engine}-reset`)
    expect(submitted.status).not.toBe('FAILED')
    expect(await scene.settle(submitted)).toMatchObject({ status: 'SUCCEEDED', engine })
    expect(await scene.countRequests(engine, 'submit')).toBe(1)
  })
})

/** How many callbacks were answered with each status. */
async function countCallbacks(url: string): Promise<(readonly [string, number])[]> {
  const metrics = await (await fetch(`${url}/metrics`)).text()
  return metrics.split('\n').flatMap((line) => {
    const [, status, count] = /^upscale_callbacks_total\{status="(\d+)"\} (\d+)$/.exec(line) ?? []
    return status === undefined ? [] : [[status, Number(count)] as const]
  })
}

test('a legnext job that has ended by the answer to its submit has a copy like any other', async () => {
  await using folder = await openTempDir()
  await using scene = await openScene({ RESULT_INSPECT_MS: '30000', RESULT_STORE: `file:${folder.path}` })
  const task = await scene.settle(await scene.submit('legnext', 'sandbox-instant'))
  expect(task).toMatchObject({ status: 'SUCCEEDED', creditsConsumed: 20, images: [{ copyState: 'KEPT' }] })
  expect(task.history.slice(0, 2)).toEqual(ACCEPTED)
  expect(await scene.countRequests('legnext', 'lookup')).toBe(0)
})

test.each([
  [
    { status: 'completed', output: { image_url: 'https://example.com/a.png' } },
    { status: 'SUCCEEDED', problem: null },
  ],
  [
    { status: 'failed', error: { code: 500, message: 'no' } },
    { status: 'FAILED', problem: { code: 'UPSTREAM_SERVER_ERROR', upstreamCode: 500 } },
  ],
])('a legnext job that has ended by the answer to its submit is settled by it: %#', async (job, expected) => {
  await using upstream = await startScriptedUpstream()
  upstream.onCreate = json(200, { job_id: 'job', ...job })
  await using scene = await openScene({ ENGINES: `legnext:${upstream.url}` })
  const task = await scene.submit('legnext', 'source')
  expect(task).toMatchObject({ ...expected, version: 3 })
  expect(task.history.map(({ source }) => source)).toEqual(['SUBMIT', 'SUBMIT', 'SUBMIT'])
  expect(await scene.countRequests('legnext', 'submit')).toBe(1)
  expect(await scene.countRequests('legnext', 'lookup')).toBe(0)
})

test.each([
  ['after it has ended', false],
  ['while it runs', true],
])(
  'two tasks for a picture that midjourney-proxy has upscaled before both settle: %s',
  async (_name, runs) => {
    await using scene = await openScene(
      { POLL_INTERVAL_MS: '50' },
      { sandboxCompleteAfterMs: runs ? 1_500 : 20 },
    )
    const first = await scene.submit('midjourney-proxy', 'sandbox-existing')
    if (!runs) await scene.settle(first)
    const second = await scene.submit('midjourney-proxy', 'sandbox-existing', { force: true })
    expect(second.id).not.toBe(first.id)
    // A running task may end meanwhile.
    if (!runs) expect(second.status).toBe('SUCCEEDED')
    const tasks = [await scene.settle(first), await scene.settle(second)]
    expect(tasks.map(({ status }) => status)).toEqual(['SUCCEEDED', 'SUCCEEDED'])
    expect(tasks[0]?.images?.[0]?.url).toBe(tasks[1]?.images?.[0]?.url)
  },
)

test('a task that midjourney-proxy has put into its own queue is accepted', async () => {
  await using scene = await openScene()
  const submitted = await scene.submit('midjourney-proxy', 'sandbox-queued')
  expect(submitted.history).toEqual(ACCEPTED)
  expect(await scene.settle(submitted)).toMatchObject({ status: 'SUCCEEDED' })
})
