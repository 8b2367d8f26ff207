import { describe, expect, test } from '@jest/globals'
import { followTask } from '../../client/src/index.ts'
import { createScriptedGateway, type ScriptedGateway } from '../../client/src/testing/index.ts'

const SUBMIT = `mutation Submit($input: UpscaleImageInput!) {
  upscaleImage(input: $input) { replayed task { id status version } problem { code retryAfterMs taskId correlationId } }
}`
const FOLLOW = 'subscription ($id: ID!) { taskUpdated(id: $id) { version status queue { position } } }'

const submit = (gateway: ScriptedGateway, taskId: string, more: object = {}) =>
  Array.fromAsync(
    gateway.iterate({ query: SUBMIT, variables: { input: { taskId, imageIndex: 0, ...more } } }),
  )

const follow = (gateway: ScriptedGateway, id: string) =>
  Array.fromAsync(gateway.iterate({ query: FOLLOW, variables: { id } }))

/** Whether a promise has settled by now, without waiting. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol('pending')
  return (await Promise.race([promise, Promise.resolve(pending)])) !== pending
}

describe('the controls of the scripted gateway', () => {
  test('a manual clock moves only by advance, and a task changes at its time', async () => {
    const gateway = createScriptedGateway({ clock: 'manual', completeAfterMs: 500 })
    const id = gateway.addTask({ taskId: 'my-picture' })
    const states = followTask(gateway, { id })
    expect((await states.next()).value).toMatchObject({ version: 2, status: 'PROCESSING' })
    const next = states.next()
    await gateway.advance(499)
    expect(await isSettled(next)).toBe(false)
    await gateway.advance(1)
    expect((await next).value).toMatchObject({ version: 3, status: 'SUCCEEDED' })
    expect((await states.next()).done).toBe(true)
  })

  test('the real clock moves with timers, and advance skips time', async () => {
    const gateway = createScriptedGateway({ completeAfterMs: 20 })
    const id = gateway.addTask({ taskId: 'my-picture' })
    expect(await follow(gateway, id)).toMatchObject([{}, { data: { taskUpdated: { status: 'SUCCEEDED' } } }])
    const late = gateway.addTask({ taskId: 'sandbox-late-60' })
    const states = follow(gateway, late)
    await gateway.advance(59_000)
    expect(await isSettled(states)).toBe(false)
    await gateway.advance(1_001)
    expect(await states).toMatchObject([{}, { data: { taskUpdated: { status: 'SUCCEEDED' } } }])
    gateway.reset()
  })

  test('latencyMs delays answers', async () => {
    const gateway = createScriptedGateway({ clock: 'manual', latencyMs: 100 })
    const answer = submit(gateway, 'my-picture')
    await gateway.advance(99)
    expect(await isSettled(answer)).toBe(false)
    await gateway.advance(1)
    expect(await answer).toMatchObject([{ data: { upscaleImage: { task: { status: 'PROCESSING' } } } }])
  })

  test('settleAll settles all tasks, also those in the queue and those that are never answered', async () => {
    const gateway = createScriptedGateway({ clock: 'manual' })
    for (const taskId of ['my-picture', 'sandbox-hang', 'sandbox-html', 'sandbox-busy-2'])
      gateway.addTask({ taskId, queue: true })
    const waiting = gateway.addTask({ taskId: 'sandbox-code-455', queue: true })
    const states = follow(gateway, waiting)
    await gateway.settleAll()
    const query = '{ upscaleTasks { edges { node { source { id } status problem { code } } } } }'
    const [answer] = await Array.fromAsync(gateway.iterate({ query }))
    const failed = (code: string) => ({ status: 'FAILED', problem: { code } })
    expect(answer).toMatchObject({
      data: {
        upscaleTasks: {
          edges: [
            { node: failed('UPSTREAM_MAINTENANCE') },
            { node: { source: { id: 'sandbox-busy-2' }, status: 'SUCCEEDED' } },
            { node: failed('UPSTREAM_OUTCOME_UNKNOWN') },
            { node: { source: { id: 'sandbox-hang' }, status: 'SUCCEEDED' } },
            { node: { source: { id: 'my-picture' }, status: 'SUCCEEDED' } },
          ],
        },
      },
    })
    expect((await states).at(0)).toEqual({
      data: { taskUpdated: { version: 1, status: 'SUBMITTED', queue: { position: 2 } } },
    })
  })

  test('disconnect fails streams and operations without an answer; a key then finds the task', async () => {
    const gateway = createScriptedGateway({ clock: 'manual' })
    const id = gateway.addTask({ taskId: 'my-picture' })
    const states = follow(gateway, id)
    const key = { idempotencyKey: 'key' }
    const lost = submit(gateway, 'sandbox-hang', key)
    await gateway.advance(0)
    gateway.disconnect(1_000)
    const failed = { name: 'FollowError', code: 'CONNECTION_FAILED', retryable: true }
    await expect(states).rejects.toMatchObject(failed)
    await expect(lost).rejects.toMatchObject(failed)
    const again = submit(gateway, 'sandbox-hang', key)
    await gateway.advance(999)
    expect(gateway.requests).toHaveLength(2)
    await gateway.advance(30_000)
    expect(await again).toMatchObject([{ data: { upscaleImage: { replayed: true, task: { version: 1 } } } }])
  })

  test('followTask resumes after a lost connection, and says so', async () => {
    const gateway = createScriptedGateway()
    const id = gateway.addTask({ taskId: 'my-picture' })
    const connection: string[] = []
    const onConnection = (state: string) => void connection.push(state)
    const states = followTask(gateway, { id, onConnection })
    expect((await states.next()).value).toMatchObject({ version: 2 })
    const next = states.next()
    gateway.disconnect()
    await gateway.advance(2_000)
    expect((await next).value).toMatchObject({ version: 3 })
    expect(connection).toEqual(['connecting', 'live', 'waiting', 'connecting', 'live'])
    // Each stream begins with the current state, which shows at once that it is live.
    expect(gateway.requests.map(({ variables }) => variables.afterVersion)).toEqual([null, null])
  })

  test('fail refuses the next submit with a problem, and other operations with an error', async () => {
    const gateway = createScriptedGateway({ clock: 'manual' })
    gateway.fail('SERVICE_UNAVAILABLE', { field: 'taskUpdated' })
    gateway.fail('UPSTREAM_RATE_LIMITED')
    gateway.fail('UNAUTHENTICATED', { field: 'upscaleImage' })
    expect(await submit(gateway, 'my-picture')).toMatchObject([
      {
        data: {
          upscaleImage: { task: null, problem: { code: 'UPSTREAM_RATE_LIMITED', retryAfterMs: 10_000 } },
        },
      },
    ])
    expect(await submit(gateway, 'my-picture')).toMatchObject([
      { data: { upscaleImage: null }, errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] },
    ])
    expect(await submit(gateway, 'my-picture')).toMatchObject([{ data: { upscaleImage: { problem: null } } }])
    expect(await follow(gateway, 'any')).toMatchObject([
      { errors: [{ extensions: { code: 'SERVICE_UNAVAILABLE', retryable: true, retryAfterMs: 2_000 } }] },
    ])
  })

  test('requests has what was sent, and reset forgets everything; with a seed, ids repeat', async () => {
    const gateway = createScriptedGateway({ clock: 'manual', seed: 'story', startAt: new Date(0) })
    const first = await submit(gateway, 'my-picture')
    const refused = await submit(gateway, 'sandbox-code-402', { idempotencyKey: undefined })
    expect(gateway.requests).toEqual([
      {
        query: SUBMIT,
        variables: { input: { taskId: 'my-picture', imageIndex: 0 } },
        operationName: null,
        field: 'upscaleImage',
      },
      { query: SUBMIT, variables: { input: expect.anything() }, operationName: null, field: 'upscaleImage' },
    ])
    gateway.reset()
    expect(gateway.requests).toEqual([])
    expect(await submit(gateway, 'my-picture')).toEqual(first)
    expect(await submit(gateway, 'sandbox-code-402')).toEqual(refused)
    const other = createScriptedGateway({ clock: 'manual' })
    expect(await submit(other, 'my-picture')).not.toEqual(first)
  })

  test('subscribe works as that of a graphql-ws client, for other GraphQL clients', async () => {
    const gateway = createScriptedGateway({ clock: 'manual' })
    const id = gateway.addTask({ taskId: 'sandbox-callback-501' })
    const seen: unknown[] = []
    const sink = {
      next: (result: object) => void seen.push(result),
      error: (error: unknown) => void seen.push(error),
      complete: () => void seen.push('complete'),
    }
    gateway.subscribe(
      { query: 'subscription ($id: ID!) { taskUpdated(id: $id) { version } }', variables: { id } },
      sink,
    )
    gateway.subscribe({ query: 'subscription {' }, sink)
    const leave = gateway.subscribe({ query: 'subscription { upscaleTasksChanged { status } }' }, sink)
    await gateway.advance(0)
    leave()
    await gateway.settleAll()
    expect(seen).toEqual(
      expect.arrayContaining([
        { data: { taskUpdated: { version: 2 } } },
        { data: { taskUpdated: { version: 3 } } },
        { data: { upscaleTasksChanged: { status: 'PROCESSING' } } },
        [expect.objectContaining({ message: 'Syntax Error: Unexpected <EOF>.' })],
        'complete',
      ]),
    )
    expect(seen).toHaveLength(6)
  })

  test('a field that the schema does not have is refused', async () => {
    const gateway = createScriptedGateway({ clock: 'manual' })
    const id = gateway.addTask({ taskId: 'my-picture' })
    const invalid = [
      expect.objectContaining({ extensions: expect.objectContaining({ code: 'GRAPHQL_VALIDATION_FAILED' }) }),
    ]
    for (const query of [
      `{ upscaleTask(id: "${id}") { state } }`,
      `{ upscaleTask(id: "${id}") { source } }`,
      `subscription { taskUpdated(id: "${id}") { state } }`,
      '{ upscaledTask { id } }',
    ])
      await expect(Array.fromAsync(gateway.iterate({ query }))).rejects.toEqual(invalid)
  })
})
