import { describe, expect, test } from '@jest/globals'
import { StoreUnavailableError } from '../../src/tasks/store-port.ts'
import { UnrepeatableError } from '../../src/tasks/submission.ts'
import { openCore } from '../support/core.ts'
import { json } from '../support/scripted-upstream.ts'
import { createUnconfirmed } from '../support/unconfirmed-commits.ts'
import { waitFor } from '../support/wait-for.ts'

const SECOND = 1_000
const ALL = { owner: 'owner', status: null, after: null, limit: 10 } as const

describe('a task whose insert was not confirmed', () => {
  test('is settled as not sent if it stands, and frees its key and its picture', async () => {
    const unconfirmed = createUnconfirmed()
    await using core = await openCore({}, {}, unconfirmed)
    const request = { force: false, idempotencyKey: 'key' }
    unconfirmed.loseNext()
    await expect(core.submit(request)).rejects.toThrow()
    await core.tasks.drain()
    const [task] = await core.tasks.list(ALL)
    expect(task).toMatchObject({
      status: 'FAILED',
      failure: { code: 'NOT_SENT', upstreamCode: null, retryAfterMs: 5_000 },
    })
    expect(task?.history.map(({ note }) => note)).toEqual([
      'submitted',
      'not sent: the gateway could not store the task safely',
    ])
    expect(core.upstream.received).toEqual([])
    expect(await core.submit(request)).toMatchObject({ replayed: false, task: { status: 'PROCESSING' } })
    expect(core.upstream.received).toHaveLength(1)
  })

  test('is looked for until the store answers again', async () => {
    const unconfirmed = createUnconfirmed()
    await using core = await openCore({}, {}, unconfirmed)
    unconfirmed.loseNext(() => core.database.breakTables())
    await expect(core.submit()).rejects.toThrow()
    await waitFor(() => core.clock.pending > 0)
    await core.database.mendTables()
    const drained = core.tasks.drain()
    core.clock.advance(SECOND)
    await drained
    expect(await core.tasks.list(ALL)).toMatchObject([{ status: 'FAILED', failure: { code: 'NOT_SENT' } }])
  })

  test('is given up when it has not appeared after ten seconds', async () => {
    const unconfirmed = createUnconfirmed()
    await using core = await openCore({}, {}, unconfirmed)
    unconfirmed.loseNext(() => core.database.deleteTasks())
    await expect(core.submit()).rejects.toThrow()
    let over = false
    const drained = core.tasks.drain().then(() => (over = true))
    for (let second = 0; second < 20; second += 1) {
      await waitFor(() => over || core.clock.pending > 0)
      core.clock.advance(SECOND)
    }
    await drained
    expect(await core.tasks.list(ALL)).toEqual([])
    expect(core.upstream.received).toEqual([])
  })

  test('is not looked for where the store failed before the commit', async () => {
    await using core = await openCore()
    await core.database.breakTables()
    await expect(core.submit()).rejects.toThrow()
    await core.tasks.drain()
    expect(core.clock.pending).toBe(0)
    await core.database.mendTables()
  })
})

describe('a submit whose store fails once its task may have been sent', () => {
  /** Whether the submit may be repeated, if the commit of its answer is never confirmed in time. */
  const isRepeatable = async (request: { force: boolean; idempotencyKey: string | null }) => {
    const unconfirmed = createUnconfirmed()
    await using core = await openCore({}, {}, unconfirmed)
    const accept = json(200, { code: 200, data: { taskId: 'upstream-1' } })
    core.upstream.onCreate = (response, received) => {
      unconfirmed.loseNext(() => {
        core.clock.advance(10 * 60 * SECOND)
        return Promise.resolve()
      })
      accept(response, received)
    }
    const error: unknown = await core.submit(request).catch((reason: unknown) => reason)
    core.tasks.abort()
    await core.tasks.drain()
    expect(error).toBeInstanceOf(StoreUnavailableError)
    return !(error instanceof UnrepeatableError)
  }

  test('must not be repeated if the repeated request would not find the task', async () => {
    expect(await isRepeatable({ force: true, idempotencyKey: null })).toBe(false)
  })

  test('may be repeated with its key, or for the same picture', async () => {
    expect(await isRepeatable({ force: true, idempotencyKey: 'key' })).toBe(true)
    expect(await isRepeatable({ force: false, idempotencyKey: null })).toBe(true)
  })

  test.each([
    [null, 'must not be repeated'],
    ['key', 'may be repeated'],
  ])(
    'with the key %s %s if the insert of a queued task was not confirmed',
    async (idempotencyKey, outcome) => {
      const unconfirmed = createUnconfirmed()
      await using core = await openCore({}, {}, unconfirmed)
      unconfirmed.loseNext()
      const error: unknown = await core
        .submit({ queue: true, idempotencyKey })
        .catch((reason: unknown) => reason)
      await core.tasks.drain()
      expect(error).toBeInstanceOf(StoreUnavailableError)
      expect(error instanceof UnrepeatableError).toBe(outcome === 'must not be repeated')
    },
  )
})
