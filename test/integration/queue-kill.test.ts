import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import {
  answerAtRandom,
  awaitTasks,
  callBackAt,
  expectSentOnce,
  killProcess,
  openQueueScene,
  readTasks,
  submitQueued,
  type Post,
} from '../support/queue-scene.ts'
import { openSqliteFile } from '../support/sqlite-file.ts'

/** A claim's lease of 10 s has to end. */
const TIMEOUT_MS = 60_000
const UNKNOWN = { status: 'FAILED', queue: null, problem: { code: 'UPSTREAM_OUTCOME_UNKNOWN' } }

/** An upstream and an empty database file. */
async function openScene() {
  await using opened = new AsyncDisposableStack()
  const { url, run, lock } = opened.use(await openSqliteFile())
  const scene = opened.use(await openQueueScene(url))
  const rest = opened.move()
  return Object.assign(scene, { run, lock, [Symbol.asyncDispose]: () => rest.disposeAsync() })
}

type Scene = Awaited<ReturnType<typeof openScene>>

/** The next paid request, which is not answered. */
function holdNextPost(scene: Scene): Promise<Post> {
  const { promise, resolve } = Promise.withResolvers<Post>()
  scene.onPost = resolve
  return promise
}

const isSettled = ({ status }: { status: string }) => status === 'SUCCEEDED' || status === 'FAILED'

test.concurrent(
  'kill -9 between the claim of a queued task and its POST: the task is sent when the lease of 10 s ends',
  async () => {
    await using scene = await openScene()
    await using first = await scene.start()
    // The claim is committed; the commit after which the task may be sent is not.
    scene.run(`CREATE TRIGGER hold BEFORE UPDATE ON task WHEN old."queueRank" IS NOT NULL AND new."queueRank" IS NULL
      BEGIN SELECT RAISE(ABORT, 'held'); END`)
    const held = first.logged('failed to take a task out of the queue')
    void submitQueued(first, 'source')
    await held
    await killProcess(first)
    expect(scene.posts).toEqual([])
    scene.run('DROP TRIGGER hold')

    await using second = await scene.start()
    const [waiting] = await readTasks(second)
    expect(waiting).toMatchObject({ status: 'SUBMITTED', queue: { position: 1 } })
    const tasks = await awaitTasks(second, ({ status }) => status === 'PROCESSING')
    expectSentOnce(scene, tasks)
    expect(scene.posts).toMatchObject([{ taskId: waiting?.id }])
  },
  TIMEOUT_MS,
)

test.concurrent(
  'kill -9 after the task has left the queue, before the POST: it is never sent, and its outcome is unknown',
  async () => {
    // Accepts connections and never answers TLS: the process cannot send a byte.
    const connected = Promise.withResolvers<void>()
    const deaf = createServer(() => connected.resolve()).listen(0, '127.0.0.1')
    await once(deaf, 'listening')
    const { port } = deaf.address() as AddressInfo
    await using scene = await openScene()
    const settings = { TASK_DEADLINE_MS: '4000', UPSTREAM_TIMEOUT_MS: '30000' }
    await using first = await scene.start({ ...settings, UPSTREAM_URL: `https://127.0.0.1:${port}` })
    void submitQueued(first, 'source')
    await connected.promise
    await killProcess(first)
    deaf.close()

    await using second = await scene.start(settings)
    expect(await awaitTasks(second, isSettled)).toMatchObject([UNKNOWN])
    expect(scene.posts).toEqual([])
  },
  TIMEOUT_MS,
)

test.concurrent(
  'kill -9 during the POST of a queued task: it is not sent again, and its callback settles it',
  async () => {
    await using scene = await openScene()
    await using first = await scene.start()
    const posted = holdNextPost(scene)
    void submitQueued(first, 'source')
    const post = await posted
    await killProcess(first)

    await using second = await scene.start()
    const tasks = await readTasks(second)
    expectSentOnce(scene, tasks)
    expect(tasks).toMatchObject([{ id: post.taskId, status: 'SUBMITTED' }])
    expect(await callBackAt(second, post)).toBe(200)
    expect(await readTasks(second)).toMatchObject([{ status: 'SUCCEEDED', queue: null }])
    expect(scene.posts).toHaveLength(1)
  },
  TIMEOUT_MS,
)

test.concurrent.each([
  ['an acceptance', true],
  ['a refusal for now', false],
] as const)(
  'kill -9 between the answer to the POST, %s, and its commit: the task is not sent again, and its outcome is unknown',
  async (_name, isAccepted) => {
    await using scene = await openScene()
    const settings = { TASK_DEADLINE_MS: '4000' }
    await using first = await scene.start(settings)
    const posted = holdNextPost(scene)
    void submitQueued(first, 'source')
    const post = await posted
    {
      using _lock = scene.lock()
      const answered = first.logged('upstream has answered')
      scene.answer(post, isAccepted)
      await answered
      await killProcess(first)
    }
    await using second = await scene.start(settings)
    expect(await awaitTasks(second, isSettled)).toMatchObject([UNKNOWN])
    expect(scene.posts).toHaveLength(1)
  },
  TIMEOUT_MS,
)

test.concurrent(
  'kill -9 at any moment, again and again: each queued task is sent once, or its outcome is unknown',
  async () => {
    await using scene = await openScene()
    const nextPost = answerAtRandom(scene)
    for (let round = 0; round < 4; round += 1) {
      await using service = await scene.start()
      const sending = nextPost()
      void submitQueued(service, ...Array.from({ length: 20 }, (_, n) => `source-${round}-${n}`))
      await sending
      await pause(Math.random() * 100)
      await killProcess(service)
    }
    await using last = await scene.start()
    const tasks = await awaitTasks(last, ({ queue }) => queue === null)
    expect(tasks.length).toBeGreaterThan(0)
    expectSentOnce(scene, tasks)
  },
  TIMEOUT_MS,
)
