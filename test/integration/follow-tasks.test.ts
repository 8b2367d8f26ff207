import { describe, expect, test } from '@jest/globals'
import { followTasks, type FollowedTaskOfMany, type FollowError } from '../../client/src/index.ts'
import { connect } from '../support/frontend.ts'
import { startPlayedStreams } from '../support/played-streams.ts'
import { openScene } from '../support/scene.ts'
import { json } from '../support/scripted-upstream.ts'
import { waitFor } from '../support/wait-for.ts'

const state = (id: string, version: number, status: string, more: object = {}) => ({
  data: { tasksUpdated: { id, version, status, ...more } },
})

const failure = (code: string, taskId: string | null = null) => ({
  data: { tasksUpdated: null },
  errors: [{ message: 'No.', extensions: { code, taskId } }],
})

interface Queued extends FollowedTaskOfMany {
  readonly queue: { readonly position: number } | null
}

interface Submitted {
  readonly upscaleImages: { readonly results: readonly { readonly task: { readonly id: string } }[] }
}

/** Reports as `onError` gets them. */
function collectErrors() {
  const errors: [string, string][] = []
  return { errors, onError: (id: string, { code }: FollowError) => void errors.push([id, code]) }
}

describe('followTasks', () => {
  test('yields each state of each task once, over one stream, and ends when all have settled', async () => {
    await using scene = await openScene()
    const [a, b] = [await scene.submit(), await scene.submit()]
    const client = connect(scene.gateway.url)
    const states = followTasks(client, { ids: [a.id, b.id], selection: 'problem { code }' })
    const next = async () => (await states.next()).value
    const processing = { version: 2, status: 'PROCESSING', problem: null }
    expect([await next(), await next()]).toEqual([
      { id: a.id, ...processing },
      { id: b.id, ...processing },
    ])
    await b.fail(500)
    expect(await next()).toEqual({
      id: b.id,
      version: 3,
      status: 'FAILED',
      problem: { code: 'UPSTREAM_SERVER_ERROR' },
    })
    await a.succeed()
    expect(await next()).toEqual({ id: a.id, version: 3, status: 'SUCCEEDED', problem: null })
    expect((await states.next()).done).toBe(true)
    const again = followTasks(client, { ids: [a.id, b.id], afterVersions: [3, 2] })
    expect(await Array.fromAsync(again)).toMatchObject([{ id: b.id, version: 3 }])
    await client.dispose()
  })

  test('yields the new place of a task in the queue, although its version stays the same', async () => {
    await using scene = await openScene()
    // Longer than this test moves the clock: a task that is being sent has no place and cannot be canceled.
    const busy = { code: 429, msg: 'busy', data: null }
    scene.upstream.onCreate = json(200, busy, { 'retry-after': '300' })
    const { data } = await scene.gateway.run<Submitted, never>(
      'HTTP',
      'mutation { upscaleImages(input: { taskId: "grid", imageIndices: [0, 1] }) { results { task { id } } } }',
    )
    const ids = data?.upscaleImages.results.map(({ task }) => task.id) ?? []
    const client = connect(scene.gateway.url)
    const seen: string[] = []
    const following = (async () => {
      const request = { ids, selection: 'queue { position }' }
      for await (const { id, status, version, queue } of followTasks<Queued>(client, request))
        seen.push(`${ids.indexOf(id)}/${version} ${status} ${queue?.position ?? '-'}`)
    })()
    const cancel = (index: number) =>
      scene.gateway.run('HTTP', `mutation { cancelUpscale(id: "${ids[index]}") { status } }`)
    const canceled = { data: { cancelUpscale: { status: 'FAILED' } } }
    await waitFor(() => seen.length === 2)
    expect(await cancel(0)).toMatchObject(canceled)
    await waitFor(() => seen.includes('0/2 FAILED -'))
    // The queue is read once per second. 200 s is less than the Retry-After.
    let steps = 200
    await waitFor(() => {
      if (steps-- > 0) scene.clock.advance(1_000)
      return seen.length === 4
    })
    expect(await cancel(1)).toMatchObject(canceled)
    await following
    expect(seen.slice(0, 2).sort()).toEqual(['0/1 SUBMITTED 1', '1/1 SUBMITTED 2'])
    expect(seen.slice(2)).toEqual(['0/2 FAILED -', '1/1 SUBMITTED 1', '1/2 FAILED -'])
    await client.dispose()
  })

  test('reports an unknown task once and follows the others; without onError it throws at the end', async () => {
    await using scene = await openScene()
    const { id, succeed } = await scene.submit()
    const client = connect(scene.gateway.url)
    const { errors, onError } = collectErrors()
    const states = followTasks(client, { ids: ['nobody', id], onError })
    expect((await states.next()).value).toMatchObject({ id, version: 2 })
    await succeed()
    expect((await states.next()).value).toMatchObject({ id, version: 3 })
    expect((await states.next()).done).toBe(true)
    expect(errors).toEqual([['nobody', 'TASK_NOT_FOUND']])

    const strict = followTasks(client, { ids: ['nobody', id] })
    expect((await strict.next()).value).toMatchObject({ id, version: 3 })
    const error = { name: 'FollowError', code: 'TASK_NOT_FOUND', taskId: 'nobody' }
    await expect(strict.next()).rejects.toMatchObject(error)
    await client.dispose()
  })

  test('ends when all tasks are unknown, and throws without onError', async () => {
    await using scene = await openScene()
    const client = connect(scene.gateway.url)
    const { errors, onError } = collectErrors()
    const ids = ['nobody', 'no-one']
    expect(await Array.fromAsync(followTasks(client, { ids, onError }))).toEqual([])
    expect(errors.map(([id]) => id).sort()).toEqual(['no-one', 'nobody'])
    await expect(followTasks(client, { ids }).next()).rejects.toMatchObject({ code: 'TASK_NOT_FOUND' })
    await client.dispose()
  })

  test('throws an error that concerns no single task, and ends at once without ids', async () => {
    await using scene = await openScene()
    const client = connect(scene.gateway.url)
    const { errors, onError } = collectErrors()
    const invalid = followTasks(client, { ids: ['x'], selection: 'nonsense', onError })
    await expect(invalid.next()).rejects.toMatchObject({ code: 'GRAPHQL_VALIDATION_FAILED', taskId: null })
    const ids = Array.from({ length: 51 }, (_, index) => `${index}`)
    await expect(followTasks(client, { ids, onError }).next()).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
    })
    expect(errors).toEqual([])
    expect((await followTasks(client, { ids: [] }).next()).done).toBe(true)
    await client.dispose()
  })

  test('ends at once when the signal aborts', async () => {
    await using scene = await openScene()
    const { id } = await scene.submit()
    const client = connect(scene.gateway.url)
    const abort = new AbortController()
    const states = followTasks(client, { ids: ['nobody', id], signal: abort.signal })
    expect((await states.next()).value).toMatchObject({ id, version: 2 })
    const rest = states.next()
    abort.abort()
    expect(await rest).toEqual({ done: true, value: undefined })
    await client.dispose()
  })

  test('resumes after a lost connection with the tasks that have not settled, after their last versions', async () => {
    const lost = Promise.withResolvers<void>()
    const streams = [
      [
        state('a', 2, 'PROCESSING'),
        state('b', 3, 'SUCCEEDED'),
        failure('TASK_NOT_FOUND', 'd'),
        state('c', 1, 'SUBMITTED'),
        lost.promise,
      ],
      // A stream that does not complete after the last task has settled.
      [state('c', 2, 'FAILED'), state('a', 3, 'SUCCEEDED'), lost.promise],
    ]
    await using server = await startPlayedStreams(streams)
    const client = connect(server.url)
    const { errors, onError } = collectErrors()
    const yielded = []
    for await (const { id, version } of followTasks(client, { ids: ['a', 'b', 'c', 'd'], onError })) {
      yielded.push(`${id}${version}`)
      if (id === 'c' && version === 1) client.terminate()
    }
    lost.resolve()
    expect(yielded).toEqual(['a2', 'b3', 'c1', 'c2', 'a3'])
    expect(errors).toEqual([['d', 'TASK_NOT_FOUND']])
    expect(server.requests).toEqual([
      { ids: ['a', 'b', 'c', 'd'], afterVersions: [null, null, null, null] },
      { ids: ['a', 'c'], afterVersions: [2, 1] },
    ])
    await client.dispose()
  })

  test('retries errors that are marked as retryable without limit', async () => {
    const { data, errors } = failure('SERVICE_UNAVAILABLE')
    const retryable = {
      message: 'No.',
      extensions: { ...errors[0]?.extensions, retryable: true, retryAfterMs: 1 },
    }
    const outage = Array.from({ length: 50 }, () => ({ data, errors: [retryable] }))
    await using server = await startPlayedStreams([outage, [state('a', 3, 'SUCCEEDED')]])
    const client = connect(server.url)
    const states = await Array.fromAsync(followTasks(client, { ids: ['a'] }))
    expect(states.map(({ id, version }) => `${id}${version}`)).toEqual(['a3'])
    await client.dispose()
  })

  test('subscribes again when a stream ends early, and yields no state twice', async () => {
    const streams = [
      [state('a', 3, 'FAILED'), state('b', 2, 'PROCESSING'), failure('SERVICE_UNAVAILABLE')],
      // A task that settled at the version that the caller has is not sent.
      [],
      [state('b', 2, 'PROCESSING'), state('b', 3, 'FAILED'), state('c', 5, 'SUCCEEDED')],
    ]
    await using server = await startPlayedStreams(streams)
    const client = connect(server.url)
    const request = { ids: ['a', 'b', 'c', 'a'], afterVersions: [2, null, 5] }
    const states = await Array.fromAsync(followTasks(client, request))
    expect(states.map(({ id, version }) => `${id}${version}`)).toEqual(['a3', 'b2', 'b3'])
    expect(server.requests).toEqual([
      { ids: ['a', 'b', 'c'], afterVersions: [2, null, 5] },
      { ids: ['b', 'c'], afterVersions: [null, null] },
      { ids: ['b', 'c'], afterVersions: [null, null] },
    ])
    await client.dispose()
  })

  test('yields a state of the same version again only if the selected fields of that task have changed', async () => {
    const waiting = (id: string, position: number) => state(id, 1, 'SUBMITTED', { queue: { position } })
    const streams = [
      [
        waiting('a', 1),
        waiting('b', 2),
        waiting('a', 1),
        waiting('b', 1),
        waiting('b', 1),
        state('a', 2, 'FAILED', { queue: null }),
        state('b', 2, 'FAILED', { queue: null }),
      ],
    ]
    await using server = await startPlayedStreams(streams)
    const client = connect(server.url)
    const seen = []
    for await (const task of followTasks<Queued>(client, {
      ids: ['a', 'b'],
      selection: 'queue { position }',
    }))
      seen.push(`${task.id}${task.version}/${task.queue?.position}`)
    expect(seen).toEqual(['a1/1', 'b1/2', 'b1/1', 'a2/undefined', 'b2/undefined'])
    await client.dispose()
  })

  test('lets many unknown tasks, whose errors a router has redacted, not end the others', async () => {
    const redacted = { data: { tasksUpdated: null }, errors: [{ message: 'Subgraph errors redacted' }] }
    const ids = Array.from({ length: 12 }, (_, index) => `unknown-${index}`)
    await using server = await startPlayedStreams([
      [...ids.map(() => redacted), state('a', 2, 'PROCESSING'), state('a', 3, 'SUCCEEDED')],
      [failure('UNAUTHENTICATED')],
    ])
    const client = connect(server.url)
    const states = followTasks(client, { ids: [...ids, 'a'] })
    expect([(await states.next()).value, (await states.next()).value]).toMatchObject([
      { id: 'a', version: 2 },
      { id: 'a', version: 3 },
    ])
    await expect(states.next()).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    await client.dispose()
  })
})
