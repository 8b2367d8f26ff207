/** The queue of each engine: neither its rate, nor its pause, nor its estimates concern the others. */
import { expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { ManualClock } from '../support/clock.ts'
import { openTestDatabase, type TestDatabase } from '../support/database.ts'
import { startGateway } from '../support/gateway.ts'
import { newTask } from '../support/new-task.ts'
import { json, startScriptedUpstream, type Answer } from '../support/scripted-upstream.ts'
import { waitFor } from '../support/wait-for.ts'

interface Task {
  readonly id: string
  readonly status: string
  readonly queue: { readonly position: number; readonly estimatedStartAt: string | null } | null
  readonly estimatedDoneAt: string | null
}

const TASK = 'id status estimatedDoneAt queue { position estimatedStartAt }'
const refuse = (code: number) => json(200, { code, msg: 'no', data: null })

function accept(): Answer {
  let count = 0
  return (response, request) =>
    json(200, { code: 200, data: { taskId: `upstream-${(count += 1)}` } })(response, request)
}

/** How long the tasks of each engine have run. */
type Runs = Readonly<Record<string, number>>
/** As many as an estimate needs. */
const SAMPLES = 20

/** Stores tasks that have settled. */
async function storeRuns(database: TestDatabase, now: number, runs: Runs): Promise<void> {
  await using stores = await database.open(createLocalHints())
  for (const [engine, runMs] of Object.entries(runs))
    for (let n = 0; n < SAMPLES; n += 1) {
      const times = { createdAt: now - 110_000, sentAt: now - 100_000, settledAt: now - 100_000 + runMs }
      await stores.store.insert(newTask({ status: 'SUCCEEDED', engine, queueAhead: 0, ...times }), {})
    }
}

/** Two engines, each at an upstream that a test scripts. */
async function openScene(settings: Record<string, string> = {}, runs: Runs = {}) {
  await using opened = new AsyncDisposableStack()
  const first = opened.use(await startScriptedUpstream())
  const second = opened.use(await startScriptedUpstream())
  for (const upstream of [first, second]) upstream.onCreate = accept()
  const database = opened.use(await openTestDatabase())
  const clock = new ManualClock()
  await storeRuns(database, clock.now(), runs)
  const ENGINES = `first=kie-midjourney:${first.url},second=kie-midjourney:${second.url}`
  const environment = { DATABASE_URL: database.url, ENGINES, ...settings }
  let gateway = await startGateway(environment, { clock })
  opened.defer(() => gateway[Symbol.asyncDispose]())
  const rest = opened.move()
  let count = 0
  return {
    first,
    second,
    clock,
    get gateway() {
      return gateway
    },
    async restart(changes: Record<string, string>) {
      await gateway[Symbol.asyncDispose]()
      gateway = await startGateway({ ...environment, ENGINE_RATE_LIMITS: '', ...changes }, { clock })
    },
    posts: () =>
      [first, second].map(({ received }) => received.filter(({ method }) => method === 'POST').length),
    async submit(engine: string, queue = true) {
      const { data } = await gateway.run<
        { upscaleImage: { task: Task | null; problem: { code: string } | null } },
        { input: object }
      >(
        'HTTP',
        `mutation ($input: UpscaleImageInput!) { upscaleImage(input: $input) { problem { code } task { ${TASK} } } }`,
        { input: { taskId: `source ${(count += 1)}`, imageIndex: 0, engine, queue } },
      )
      if (!data) throw new Error('There is no answer')
      return data.upscaleImage
    },
    async read(id: string | undefined) {
      const { data } = await gateway.run<{ upscaleTask: Task | null }, never>(
        'HTTP',
        `{ upscaleTask(id: "${id ?? ''}") { ${TASK} } }`,
      )
      return data?.upscaleTask
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

test("an engine's used-up rate does not delay the tasks of another", async () => {
  await using scene = await openScene({ ENGINE_RATE_LIMITS: 'first=1/10s,second=3/10s' })
  expect((await scene.submit('first')).task).toMatchObject({ status: 'PROCESSING' })
  const waiting: (string | undefined)[] = []
  for (let n = 1; n <= 3; n += 1) {
    const { task } = await scene.submit('first')
    expect(task).toMatchObject({ status: 'SUBMITTED', queue: { position: n } })
    waiting.push(task?.id)
  }
  expect((await scene.submit('second')).task).toMatchObject({ status: 'PROCESSING', queue: null })
  // A submit without the queue does not overtake the queue of its engine; that of another engine does not
  // matter.
  expect(await scene.submit('first', false)).toMatchObject({ problem: { code: 'UPSTREAM_RATE_LIMITED' } })
  expect(await scene.submit('second', false)).toMatchObject({ task: { status: 'PROCESSING' } })
  expect((await scene.submit('second')).task).toMatchObject({ status: 'PROCESSING', queue: null })
  const { task: last } = await scene.submit('second')
  expect(last).toMatchObject({ status: 'SUBMITTED', queue: { position: 1 } })
  expect(scene.posts()).toEqual([1, 3])
  for (const id of [waiting[0], last?.id])
    await waitFor(async () => {
      // In small steps: limits that replicas share count by the time of their server.
      scene.clock.advance(10)
      return (await scene.read(id))?.status === 'PROCESSING'
    })
})

test("an engine's pause does not delay the tasks of another", async () => {
  await using scene = await openScene()
  scene.first.onCreate = refuse(455)
  for (let n = 0; n < 2; n += 1) await scene.submit('first')
  expect(scene.gateway.log()).toContain('the engine takes no tasks: its lane of the queue pauses')
  const { task: paused } = await scene.submit('first')
  expect(paused).toMatchObject({ status: 'SUBMITTED' })
  expect(scene.posts()).toEqual([2, 0])
  for (let n = 1; n <= 3; n += 1)
    expect((await scene.submit('second')).task).toMatchObject({ status: 'PROCESSING' })
  expect(scene.posts()).toEqual([2, 3])
  scene.first.onCreate = accept()
  await waitFor(async () => {
    scene.clock.advance(5_000)
    return (await scene.read(paused?.id))?.status === 'PROCESSING'
  })
})

test('an engine that does not answer does not delay the tasks of another', async () => {
  await using scene = await openScene()
  const held = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  scene.first.onCreate = (response, request) => {
    asked.resolve()
    void held.promise.then(() => accept()(response, request))
  }
  const hanging = scene.submit('first')
  await asked.promise
  expect((await scene.submit('second')).task).toMatchObject({ status: 'PROCESSING' })
  held.resolve()
  expect((await hanging).task).toMatchObject({ status: 'PROCESSING' })
})

test('each engine is estimated by its own tasks', async () => {
  await using scene = await openScene({}, { first: 30_000, second: 90_000 })
  const now = scene.clock.now()
  const doneAfter = async (engine: string) => {
    const { task } = await scene.submit(engine, false)
    return Date.parse(task?.estimatedDoneAt ?? '') - now
  }
  expect([await doneAfter('first'), await doneAfter('second')]).toEqual([30_000, 90_000])
})

test('an engine without tasks is not estimated by those of another', async () => {
  const ENGINE_RATE_LIMITS = 'first=1/10s,second=1/10s'
  await using scene = await openScene({ ENGINE_RATE_LIMITS }, { first: 30_000 })
  expect((await scene.submit('first')).task?.estimatedDoneAt).not.toBeNull()
  expect((await scene.submit('second')).task?.estimatedDoneAt).toBeNull()
  const estimatedStartAt = new Date(scene.clock.now() + 10_000).toISOString()
  expect((await scene.submit('first')).task).toMatchObject({ queue: { position: 1, estimatedStartAt } })
  expect((await scene.submit('second')).task).toMatchObject({
    queue: { position: 1, estimatedStartAt: null },
  })
})

test('a task whose engine ENGINES does not name any more waits and runs until its deadline', async () => {
  await using scene = await openScene({ ENGINE_RATE_LIMITS: 'first=1/10s' })
  const { task: running } = await scene.submit('first')
  const { task: waiting } = await scene.submit('first')
  expect([running?.status, waiting?.status]).toEqual(['PROCESSING', 'SUBMITTED'])
  await scene.restart({ ENGINES: `second=kie-midjourney:${scene.second.url}` })
  await waitFor(() => scene.gateway.log().includes('ENGINES does not name engines of running tasks'))
  expect((await scene.submit('second')).task).toMatchObject({ status: 'PROCESSING' })
  expect(await scene.read(waiting?.id)).toMatchObject({ status: 'SUBMITTED', queue: { position: 1 } })
  scene.clock.advance(60_000)
  await waitFor(() =>
    scene.gateway.log().includes('a task cannot be polled: ENGINES does not name its engine'),
  )
  expect(await scene.read(running?.id)).toMatchObject({ status: 'PROCESSING' })
  for (const task of [running, waiting])
    await waitFor(async () => {
      scene.clock.advance(600_000)
      return (await scene.read(task?.id))?.status === 'FAILED'
    })
  expect(scene.posts()).toEqual([1, 1])
})
