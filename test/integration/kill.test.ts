import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { startProcess } from '../support/process.ts'
import { json, startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'

const RESULT = 'https://example.com/result.png'
const UPSCALE = `mutation {
  upscaleImage(input: {taskId: "source", imageIndex: 0, idempotencyKey: "key"}) { replayed task { id status } problem { code } } }`
const TASKS = '{ upscaleTasks { edges { node { id status version images { url } problem { code } } } } }'

interface Shown {
  id: string
  status: string
  version: number
  images: { url: string }[] | null
  problem: { code: string } | null
}

const created = json(200, { code: 200, msg: 'success', data: { taskId: 'upstream-1' } })
const finished = json(200, {
  code: 200,
  data: { successFlag: 1, resultInfoJson: { resultUrls: [{ resultUrl: RESULT }] } },
})

/** kill -9 at the points where it hurts most. Each time the process is a real one, and really killed. */
describe('after kill -9', () => {
  let dir: Awaited<ReturnType<typeof openTempDir>>
  let upstream: ScriptedUpstream
  beforeEach(async () => {
    dir = await openTempDir()
    upstream = await startScriptedUpstream()
  })
  afterEach(async () => {
    await upstream[Symbol.asyncDispose]()
    await dir[Symbol.asyncDispose]()
  })

  const file = () => `${dir.path}/k.db`
  const start = (settings: Record<string, string> = {}) =>
    startProcess({
      DATABASE_URL: `file:${file()}`,
      UPSTREAM_URL: upstream.url,
      UPSTREAM_TIMEOUT_MS: '1000',
      POLL_INTERVAL_MS: '200',
      ...settings,
    })
  type Running = Awaited<ReturnType<typeof start>>

  async function kill(service: Running) {
    service.child.kill('SIGKILL')
    expect(await service.exited).toMatchObject({ signal: 'SIGKILL' })
  }

  const read = async (service: Running) => {
    const { data } = (await service.run(TASKS)) as { data: { upscaleTasks: { edges: { node: Shown }[] } } }
    return data.upscaleTasks.edges.map(({ node }) => node)
  }

  /** The one task, once it is settled. */
  async function settled(service: Running): Promise<Shown | undefined> {
    for (;;) {
      const [task] = await read(service)
      if (task?.status === 'SUCCEEDED' || task?.status === 'FAILED') return task
      await new Promise(setImmediate)
    }
  }

  const submits = () => upstream.received.filter(({ method }) => method === 'POST')
  const nextRequest = (method: 'onCreate' | 'onLookup', answer = created) => {
    const asked = Promise.withResolvers<() => void>()
    upstream[method] = (response, request) => asked.resolve(() => answer(response, request))
    return asked.promise
  }

  /** Calls back as the vendor would, at the process that runs now. */
  async function callBack(service: Running) {
    const { callBackUrl } = JSON.parse(submits()[0]?.body ?? '') as { callBackUrl: string }
    const body = JSON.stringify({ code: 200, data: { taskId: 'upstream-1', resultUrls: [RESULT] } })
    const url = `${service.url}${new URL(callBackUrl).pathname}`
    return (await fetch(url, { method: 'POST', body })).status
  }

  /** Holds the database's write lock, so that every commit waits. */
  function lock() {
    const sqlite = new DatabaseSync(file(), { timeout: 5_000 })
    sqlite.exec('BEGIN IMMEDIATE')
    return { [Symbol.dispose]: () => sqlite.close() }
  }

  test('before the POST, the task is there, is not sent, and ends with its deadline', async () => {
    // Connections are taken and TLS is never answered: the process is held before it can send a byte.
    const connected = Promise.withResolvers<void>()
    const deaf = createServer(() => connected.resolve()).listen(0, '127.0.0.1')
    await once(deaf, 'listening')
    const { port } = deaf.address() as AddressInfo
    const settings = { TASK_DEADLINE_MS: '2000', UPSTREAM_TIMEOUT_MS: '30000' }
    await using first = await start({ ...settings, UPSTREAM_URL: `https://127.0.0.1:${port}` })
    const answer = first.run(UPSCALE).catch(() => 'cut off')
    await connected.promise
    await kill(first)
    expect(await answer).toBe('cut off')
    deaf.close()

    await using second = await start(settings)
    expect(await settled(second)).toMatchObject({ problem: { code: 'UPSTREAM_OUTCOME_UNKNOWN' } })
    expect(submits()).toHaveLength(0)
  })

  test('during the POST, the task is not sent again, and its callback settles it', async () => {
    const asked = nextRequest('onCreate')
    await using first = await start({ UPSTREAM_TIMEOUT_MS: '5000' })
    const answer = first.run(UPSCALE).catch(() => 'cut off')
    await asked
    await kill(first)
    expect(await answer).toBe('cut off')

    await using second = await start()
    expect(await second.run(UPSCALE)).toMatchObject({
      data: { upscaleImage: { replayed: true, task: { status: 'SUBMITTED' }, problem: null } },
    })
    expect(await callBack(second)).toBe(200)
    expect(await settled(second)).toMatchObject({ status: 'SUCCEEDED', images: [{ url: RESULT }] })
    expect(submits()).toHaveLength(1)
  })

  test('between the answer and its commit, the same', async () => {
    const asked = nextRequest('onCreate')
    await using first = await start({ UPSTREAM_TIMEOUT_MS: '5000' })
    const answer = first.run(UPSCALE).catch(() => 'cut off')
    const respond = await asked
    {
      using _lock = lock()
      const answered = first.logged('upstream has answered')
      respond()
      await answered
      await kill(first)
    }
    expect(await answer).toBe('cut off')

    await using second = await start()
    expect(await read(second)).toMatchObject([{ status: 'SUBMITTED', version: 1 }])
    expect(await callBack(second)).toBe(200)
    expect(await settled(second)).toMatchObject({ status: 'SUCCEEDED' })
    expect(submits()).toHaveLength(1)
  })

  test('during a callback, which was not answered, the vendor calls again and the task settles', async () => {
    await using first = await start({ POLL_INTERVAL_MS: '60000', UPSTREAM_TIMEOUT_MS: '30000' })
    await first.run(UPSCALE)
    {
      using _lock = lock()
      const call = callBack(first).catch(() => 'cut off')
      // Answered after the callback has come, while the commit waits for the lock.
      expect((await fetch(`${first.url}/livez`)).status).toBe(200)
      await kill(first)
      expect(await call).toBe('cut off')
    }
    await using second = await start({ POLL_INTERVAL_MS: '60000' })
    expect(await read(second)).toMatchObject([{ status: 'PROCESSING', version: 2 }])
    expect(await callBack(second)).toBe(200)
    expect(await settled(second)).toMatchObject({ status: 'SUCCEEDED', version: 3 })
    expect(submits()).toHaveLength(1)
  })

  test('while polling, the lease ends and the next process polls', async () => {
    const asked = nextRequest('onLookup')
    await using first = await start({ UPSTREAM_TIMEOUT_MS: '5000' })
    await first.run(UPSCALE)
    await asked
    await kill(first)
    upstream.onLookup = finished
    await using second = await start()
    expect(await settled(second)).toMatchObject({
      status: 'SUCCEEDED',
      version: 3,
      images: [{ url: RESULT }],
    })
    expect(submits()).toHaveLength(1)
  })

  describe('with a callBackUrl', () => {
    const settings = { CALLBACK_ALLOW_HOSTS: '127.0.0.1' }
    let receiver: ScriptedUpstream
    beforeEach(async () => {
      receiver = await startScriptedUpstream()
    })
    afterEach(async () => {
      await receiver[Symbol.asyncDispose]()
    })
    const told = () =>
      receiver.received.map(
        ({ headers, body }) => [headers['webhook-id'], JSON.parse(body) as object] as const,
      )

    test('between the commit and the delivery, the callback is delivered by the next process', async () => {
      const args = ['--import', 'tsx', 'test/support/settle-worker.ts', file(), receiver.url]
      const worker = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
      const [id] = (await once(createInterface(worker.stdout), 'line')) as [string]
      worker.kill('SIGKILL')
      expect(await once(worker, 'exit')).toEqual([null, 'SIGKILL'])
      expect(receiver.received).toHaveLength(0)

      const delivered = Promise.withResolvers<void>()
      receiver.onCreate = (response) => response.end(() => delivered.resolve())
      await using _service = await start(settings)
      await delivered.promise
      expect(told()).toMatchObject([[`${id}-2`, { code: 200, data: { taskId: id, resultUrls: [RESULT] } }]])
    })

    test('between the delivery and its record, it is delivered once more, under the same id', async () => {
      const arrived = nextRequest('onCreate')
      const first = Promise.withResolvers<void>()
      const second = Promise.withResolvers<void>()
      // The receiver does not answer the first delivery.
      receiver.onCreate = () => {
        receiver.onCreate = (response) => response.end(() => second.resolve())
        first.resolve()
      }
      const patient = { POLL_INTERVAL_MS: '60000', UPSTREAM_TIMEOUT_MS: '30000' }
      await using killed = await start({ ...settings, ...patient })
      const answer = killed.run(
        `mutation { upscaleImage(input: {taskId: "source", imageIndex: 0, callBackUrl: "${receiver.url}"}) { task { id } } }`,
      )
      ;(await arrived)()
      await answer
      expect(await callBack(killed)).toBe(200)
      await first.promise
      await kill(killed)

      await using _next = await start(settings)
      await second.promise
      const [[firstId, firstBody], [secondId, secondBody]] = told() as [[string, object], [string, object]]
      expect(secondId).toBe(firstId)
      expect(secondBody).toEqual(firstBody)
    }, 60_000)
  })
})
