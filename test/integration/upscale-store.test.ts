import { parse } from 'graphql'
import { describe, expect, test } from '@jest/globals'
import {
  createUpscale,
  toWebStorage,
  type Upscale,
  type UpscaleSnapshot,
  type UpscaleStorage,
} from '../../client/src/store/index.ts'
import { createHttpTransport } from '../../client/src/index.ts'
import { connect } from '../support/frontend.ts'
import { startGateway } from '../support/gateway.ts'
import { startPlayedStreams } from '../support/played-streams.ts'
import { startSilentProxy } from '../support/proxy.ts'
import { openScene, RESULT } from '../support/scene.ts'
import { json, text } from '../support/scripted-upstream.ts'
import { waitFor } from '../support/wait-for.ts'

const INPUT = { taskId: 'source', imageIndex: 0 }
const ACCEPTED = json(200, { code: 200, data: { taskId: 'upstream-1' } })

/** A storage that outlives a page. */
function createStorage(
  value: string | null = null,
): UpscaleStorage & { readonly value: () => string | null } {
  const items = new Map(value === null ? [] : [['upscale', value]])
  const storage = {
    getItem: (key: string) => items.get(key) ?? null,
    setItem: (key: string, text: string) => void items.set(key, text),
    removeItem: (key: string) => void items.delete(key),
  }
  return { ...toWebStorage(storage, 'upscale'), value: () => items.get('upscale') ?? null }
}

/** Subscribes, and resolves with the first snapshot that fits; it stays subscribed. */
function until<Task extends { version: number; status: string }>(
  store: Upscale<Task>,
  fits: (snapshot: UpscaleSnapshot<Task>) => boolean,
): Promise<UpscaleSnapshot<Task>> {
  return new Promise((resolve) => {
    store.subscribe((snapshot) => {
      if (fits(snapshot)) resolve(snapshot)
    })
  })
}

const open = (url: string) => createHttpTransport({ url: `${url}/graphql` })

async function countStreams(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text()
  return Number(/^upscale_subscriptions_open (\d+)$/m.exec(metrics)?.[1])
}

/** A submit whose upstream answers when the test says so. */
async function openHeldScene() {
  const scene = await openScene()
  const answers: (() => void)[] = []
  scene.upstream.onCreate = (response, request) => answers.push(() => ACCEPTED(response, request))
  const submits = () => scene.upstream.received.filter(({ method }) => method === 'POST').length
  return Object.assign(scene, { answer: () => answers.shift()?.(), submits })
}

describe('the store of an upscale', () => {
  test.each(['graphql-ws', 'HTTP'])('submits, follows and settles once (%s)', async (kind) => {
    await using gateway = await startGateway()
    const socket = connect(gateway.url)
    const settled: unknown[] = []
    const client = kind === 'HTTP' ? open(gateway.url) : socket
    const store = createUpscale({ client, onSettled: (task) => settled.push(task) })
    const shown: UpscaleSnapshot[] = []
    const unsubscribe = store.subscribe((snapshot) => shown.push(snapshot))
    expect(shown).toEqual([store.getSnapshot()])
    const { id } = await store.submit(INPUT)
    await until(store, ({ endedAt }) => endedAt !== null)
    await new Promise(setImmediate)
    const last = store.getSnapshot()
    expect(last).toMatchObject({ status: 'SUCCEEDED', connection: 'idle', problem: null, task: { id } })
    expect(last.task?.images).toHaveLength(1)
    expect(settled).toEqual([last.task])
    const versions = shown.map(({ task }) => task?.version ?? 0)
    expect(versions).toEqual(versions.toSorted((a, b) => a - b))
    expect([...new Set(shown.map(({ status }) => status))]).toEqual([
      'IDLE',
      'SUBMITTING',
      'PROCESSING',
      'SUCCEEDED',
    ])
    unsubscribe()
    await waitFor(async () => (await countStreams(gateway.url)) === 0)
    await socket.dispose()
  })

  test('resumes after a reload, and calls onSettled once for all pages', async () => {
    await using scene = await openScene()
    const storage = createStorage()
    const settled: unknown[] = []
    const load = () =>
      createUpscale({ client: open(scene.gateway.url), storage, onSettled: () => settled.push(1) })
    const { id, succeed } = await scene.submit()
    const first = load()
    first.follow(id)
    await until(first, ({ task }) => task?.version === 2)
    expect(JSON.parse(storage.value() ?? '')).toMatchObject({ id, version: 2 })
    first.dispose()
    await succeed()
    const second = load()
    await until(second, ({ status }) => status === 'SUCCEEDED')
    const third = load()
    const { task } = await until(third, ({ status }) => status === 'SUCCEEDED')
    expect(task?.images?.[0]?.url).toBe(RESULT)
    await new Promise(setImmediate)
    expect(settled).toEqual([1])
  })

  test('reads the state of a task of which only the id is stored', async () => {
    await using scene = await openScene()
    const { id } = await scene.submit()
    const store = createUpscale({ client: open(scene.gateway.url), storage: createStorage(id) })
    expect(await until(store, ({ task }) => task !== null)).toMatchObject({ status: 'PROCESSING' })
    store.dispose()
  })

  test('shows no state that is older than one shown before the reload', async () => {
    const state = (version: number, status: string) => ({
      data: { taskUpdated: { id: 'x', version, status } },
    })
    const streams = [[state(2, 'PROCESSING')], [state(3, 'FAILED')], [state(4, 'SUCCEEDED')]]
    await using server = await startPlayedStreams(streams)
    const client = connect(server.url)
    const follow = parse(`subscription ($id: ID!, $afterVersion: Int) {
      taskUpdated(id: $id, afterVersion: $afterVersion) { id version status }
    }`)
    const storage = createStorage(JSON.stringify({ id: 'x', version: 4, status: 'SUCCEEDED', settled: 4 }))
    const store = createUpscale({ client, storage, documents: { submit: follow, follow } })
    const shown: unknown[] = []
    store.subscribe(({ task }) => shown.push(task?.version))
    await until(store, ({ endedAt }) => endedAt !== null)
    expect([...new Set(shown)]).toEqual([undefined, 4])
    expect(streams).toEqual([])
    await client.dispose()
  })

  test('pays once if the page is reloaded in the middle of a submit', async () => {
    await using scene = await openHeldScene()
    const storage = createStorage()
    const load = () => createUpscale({ client: open(scene.gateway.url), storage })
    const first = load()
    first.subscribe(() => undefined)
    void first.submit({ ...INPUT, force: true })
    await waitFor(() => scene.submits() === 1)
    first.dispose()
    const second = load()
    const loaded = until(second, ({ task }) => task !== null)
    expect(second.getSnapshot().task).toBeNull()
    await waitFor(() => second.getSnapshot().status === 'SUBMITTING')
    scene.answer()
    expect(await loaded).toMatchObject({ status: 'PROCESSING' })
    expect(scene.submits()).toBe(1)
    second.dispose()
  })

  test('sends a submit again, with the same key, when its connection is lost', async () => {
    await using scene = await openHeldScene()
    await using proxy = await startSilentProxy(scene.gateway.url)
    const store = createUpscale({ client: open(new URL(proxy.url).origin) })
    const submitted = store.submit({ ...INPUT, force: true })
    await waitFor(() => scene.submits() === 1)
    proxy.leadTo(scene.gateway.url)
    scene.answer()
    expect(await submitted).toMatchObject({ status: 'PROCESSING' })
    expect(scene.submits()).toBe(1)
    store.dispose()
  })

  test('returns the same promise for an equal submit without an answer', async () => {
    await using scene = await openHeldScene()
    const store = createUpscale({ client: open(scene.gateway.url) })
    const submitted = store.submit(INPUT)
    expect(store.submit({ ...INPUT })).toBe(submitted)
    await waitFor(() => scene.submits() === 1)
    scene.answer()
    await submitted
    store.dispose()
  })

  test('reports a refusal as problem and as error, and retries after retryAfterMs', async () => {
    await using scene = await openScene()
    scene.upstream.onCreate = text(429, 'busy', { 'retry-after': '1' })
    const store = createUpscale({ client: open(scene.gateway.url) })
    await expect(store.submit(INPUT)).rejects.toMatchObject({ code: 'UPSTREAM_RATE_LIMITED' })
    const refused = store.getSnapshot()
    expect(refused).toMatchObject({
      status: 'FAILED',
      task: null,
      problem: { code: 'UPSTREAM_RATE_LIMITED', retryAfterMs: 1_000 },
      connection: 'idle',
    })
    scene.upstream.onCreate = ACCEPTED
    const retried = store.retry()
    expect(store.getSnapshot()).toMatchObject({ status: 'SUBMITTING', connection: 'waiting' })
    expect(await retried).toMatchObject({ status: 'PROCESSING' })
    expect(Date.now() - (refused.endedAt ?? 0)).toBeGreaterThanOrEqual(990)
    store.dispose()
  })

  test('withdraws a retry that waits', async () => {
    await using scene = await openScene()
    scene.upstream.onCreate = text(429, 'busy', { 'retry-after': '100' })
    const store = createUpscale({ client: open(scene.gateway.url) })
    await expect(store.submit(INPUT)).rejects.toMatchObject({ code: 'UPSTREAM_RATE_LIMITED' })
    const retried = store.retry()
    await store.cancel()
    await expect(retried).rejects.toMatchObject({ code: 'CANCELLED' })
    expect(store.getSnapshot()).toMatchObject({ status: 'FAILED', problem: { code: 'CANCELLED' } })
  })

  test('retries a failed task as a new task, also one that was submitted elsewhere', async () => {
    await using gateway = await startGateway()
    const client = open(gateway.url)
    const ended = ({ endedAt }: UpscaleSnapshot) => endedAt !== null
    const first = createUpscale({ client })
    const { id } = await first.submit({ ...INPUT, taskId: 'sandbox-callback-501' })
    expect(await until(first, ended)).toMatchObject({ problem: { code: 'GENERATION_FAILED' } })
    const second = createUpscale({ client })
    second.follow(id)
    await until(second, ended)
    const task = await second.retry()
    expect(task).toMatchObject({ source: { id: 'sandbox-callback-501' } })
    expect(task.id).not.toBe(id)
    first.dispose()
    second.dispose()
  })

  test('counts a late success after a failure as a second settlement', async () => {
    await using scene = await openScene()
    const { id, fail, succeed } = await scene.submit()
    const storage = createStorage(id)
    const settled: unknown[] = []
    const load = () =>
      createUpscale({
        client: open(scene.gateway.url),
        storage,
        onSettled: ({ status }) => settled.push(status),
      })
    await fail(501)
    await until(load(), ({ status }) => status === 'FAILED')
    await succeed()
    await until(load(), ({ status }) => status === 'SUCCEEDED')
    await new Promise(setImmediate)
    expect(settled).toEqual(['FAILED', 'SUCCEEDED'])
  })

  test('cancels a task in the queue, and follows one that it is too late to cancel', async () => {
    await using scene = await openScene({ UPSTREAM_RATE_LIMIT: '1/60s' })
    const client = open(scene.gateway.url)
    const [sent, queued] = [createUpscale({ client }), createUpscale({ client })]
    await sent.submit(INPUT)
    await queued.submit({ ...INPUT, imageIndex: 1, queue: true })
    expect(queued.getSnapshot().task?.queue?.position).toBe(1)
    await queued.cancel()
    expect(await until(queued, ({ endedAt }) => endedAt !== null)).toMatchObject({
      status: 'FAILED',
      problem: { code: 'CANCELLED' },
    })
    await expect(sent.cancel()).rejects.toMatchObject({ name: 'FollowError', code: 'TOO_LATE_TO_CANCEL' })
    expect(sent.getSnapshot()).toMatchObject({ status: 'PROCESSING', problem: null })
    sent.dispose()
  })

  test('shows a permanent error as problem, and sends nothing after it', async () => {
    await using gateway = await startGateway()
    const store = createUpscale({ client: open(gateway.url) })
    store.follow('unknown')
    const unsubscribed = await until(store, ({ problem }) => problem !== null)
    expect(unsubscribed).toMatchObject({
      status: 'IDLE',
      problem: { code: 'TASK_NOT_FOUND' },
      connection: 'idle',
    })
    await expect(store.retry()).rejects.toMatchObject({ code: 'TASK_NOT_FOUND' })
  })

  test('closes the stream with the last subscriber, and resumes with the next one', async () => {
    await using scene = await openScene()
    const { id, succeed } = await scene.submit()
    const store = createUpscale({ client: open(scene.gateway.url) })
    store.follow(id)
    const unsubscribe = store.subscribe(() => undefined)
    await waitFor(() => store.getSnapshot().connection === 'live')
    unsubscribe()
    expect(store.getSnapshot().connection).toBe('idle')
    await waitFor(async () => (await countStreams(scene.gateway.url)) === 0)
    await succeed()
    expect(store.getSnapshot().status).toBe('PROCESSING')
    await until(store, ({ status }) => status === 'SUCCEEDED')
  })
})
