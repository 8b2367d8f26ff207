/**
 * `kill -9` while a task moves on from one engine to the next: it is charged once at most, and is not lost.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import {
  awaitTasks,
  killProcess,
  readTasks,
  startQueueProcess,
  type QueueProcess,
} from '../support/queue-scene.ts'
import { json, startScriptedUpstream, type Answer, type Received } from '../support/scripted-upstream.ts'
import { openSqliteFile } from '../support/sqlite-file.ts'

/** A claim's lease of 10 s has to end. */
const TIMEOUT_MS = 60_000
const DISABLED = json(200, { code: 505, msg: 'Feature Disabled', data: null })
const UNKNOWN = { status: 'FAILED', queue: null, problem: { code: 'UPSTREAM_OUTCOME_UNKNOWN' } }

const toTaskId = ({ body }: Received) => {
  const { callBackUrl } = JSON.parse(body) as { callBackUrl: string }
  return new URL(callBackUrl).pathname.split('/')[3] ?? ''
}

const accept: Answer = (response, request) =>
  json(200, { code: 200, data: { taskId: `upstream-${toTaskId(request)}` } })(response, request)

/** Two upstreams, of which the first is switched off, and an empty database file. */
async function openScene() {
  await using opened = new AsyncDisposableStack()
  const first = opened.use(await startScriptedUpstream())
  const second = opened.use(await startScriptedUpstream())
  first.onCreate = DISABLED
  second.onCreate = accept
  const { url, run, lock } = opened.use(await openSqliteFile())
  const rest = opened.move()
  return {
    first,
    second,
    run,
    lock,
    start: (settings: Record<string, string> = {}) =>
      startQueueProcess({
        DATABASE_URL: url,
        ENGINES: `first=kie-midjourney:${first.url},second=kie-midjourney:${second.url}`,
        ENGINE_FALLBACK: 'on',
        ...settings,
      }),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** Resolves when the process has answered, or has died. */
async function submit(service: QueueProcess, source: string, queue = false): Promise<void> {
  const input = `{ taskId: "${source}", imageIndex: 0, idempotencyKey: "${source}", queue: ${queue} }`
  const mutation = `mutation { upscaleImage(input: ${input}) { task { id } problem { code } } }`
  await service.run(mutation).catch(() => undefined)
}

const isSettled = ({ status }: { status: string }) => status === 'SUCCEEDED' || status === 'FAILED'

test.concurrent.each([false, true])(
  'kill -9 between the refusal of the first engine and its commit (queue: %s): the task is sent nowhere again',
  async (queue) => {
    await using scene = await openScene()
    const settings = { TASK_DEADLINE_MS: '4000' }
    await using one = await scene.start(settings)
    const refused = Promise.withResolvers<() => void>()
    scene.first.onCreate = (response, request) => refused.resolve(() => DISABLED(response, request))
    void submit(one, 'source', queue)
    const answer = await refused.promise
    {
      using _lock = scene.lock()
      const answered = one.logged('upstream has answered')
      answer()
      await answered
      await killProcess(one)
    }
    await using two = await scene.start(settings)
    expect(await awaitTasks(two, isSettled)).toMatchObject([UNKNOWN])
    expect([scene.first.received.length, scene.second.received.length]).toEqual([1, 0])
  },
  TIMEOUT_MS,
)

test.concurrent.each([false, true])(
  'kill -9 between the two engines (queue: %s): the second gets the task once, and the same request is the same task',
  async (queue) => {
    await using scene = await openScene()
    await using one = await scene.start()
    // The move is committed; the commit after which the task may be sent to the second engine is not.
    scene.run(`CREATE TRIGGER hold BEFORE UPDATE ON task
      WHEN old.engine = 'second' AND old."queueRank" IS NOT NULL AND new."queueRank" IS NULL
      BEGIN SELECT RAISE(ABORT, 'held'); END`)
    const held = one.logged('failed to take a task out of the queue')
    void submit(one, 'source', queue)
    await held
    await killProcess(one)
    expect([scene.first.received.length, scene.second.received.length]).toEqual([1, 0])
    scene.run('DROP TRIGGER hold')

    await using two = await scene.start()
    await submit(two, 'source', queue)
    const tasks = await awaitTasks(two, ({ status }) => status === 'PROCESSING')
    expect(tasks).toHaveLength(1)
    expect(scene.second.received.map(toTaskId)).toEqual([tasks[0]?.id])
    expect(scene.first.received).toHaveLength(1)
  },
  TIMEOUT_MS,
)

test.concurrent(
  'kill -9 during the POST to the second engine: it is not sent again, and its callback settles it',
  async () => {
    await using scene = await openScene()
    await using one = await scene.start()
    const posted = Promise.withResolvers<Received>()
    scene.second.onCreate = (_response, request) => posted.resolve(request)
    void submit(one, 'source')
    const post = await posted.promise
    await killProcess(one)

    await using two = await scene.start()
    const { callBackUrl } = JSON.parse(post.body) as { callBackUrl: string }
    const body = { code: 200, data: { taskId: 'upstream-1', resultUrls: ['https://example.com/a.png'] } }
    const url = two.url + new URL(callBackUrl).pathname
    expect((await fetch(url, { method: 'POST', body: JSON.stringify(body) })).status).toBe(200)
    expect(await readTasks(two)).toMatchObject([{ status: 'SUCCEEDED' }])
    expect([scene.first.received.length, scene.second.received.length]).toEqual([1, 1])
  },
  TIMEOUT_MS,
)

test.concurrent(
  'kill -9 at any moment, again and again: each task is accepted by one engine at most, once',
  async () => {
    await using scene = await openScene()
    const accepted: string[] = []
    let onPost = () => undefined as void
    const atRandom =
      (share: number): Answer =>
      (response, request) => {
        onPost()
        setTimeout(() => {
          if (Math.random() >= share) {
            DISABLED(response, request)
            return
          }
          accepted.push(toTaskId(request))
          accept(response, request)
        }, Math.random() * 30)
      }
    scene.first.onCreate = atRandom(0.2)
    scene.second.onCreate = atRandom(0.8)
    for (let round = 0; round < 4; round += 1) {
      await using service = await scene.start()
      const sending = new Promise<void>((resolve) => (onPost = resolve))
      for (let n = 0; n < 20; n += 1) void submit(service, `source-${round}-${n}`, n % 2 === 0)
      await sending
      await pause(Math.random() * 150)
      await killProcess(service)
    }
    await using last = await scene.start()
    const tasks = await awaitTasks(last, ({ queue }) => queue === null)
    expect(tasks.length).toBeGreaterThan(0)
    expect(accepted.length).toBe(new Set(accepted).size)
    for (const { id, status } of tasks) if (status === 'PROCESSING') expect(accepted).toContain(id)
  },
  TIMEOUT_MS,
)
