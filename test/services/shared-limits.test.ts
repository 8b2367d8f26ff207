import { randomUUID } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { UpscaleImageDocument } from '../generated/operations.ts'
import { openPool } from '../../src/store/postgres-pool.ts'
import type { CreateLimiter, Rate } from '../../src/replicas/limit.ts'
import { createRedisLimiter } from '../../src/replicas/limiters.ts'
import { createPostgresLimiter } from '../../src/replicas/postgres-limiter.ts'
import { createSharedPollBudget } from '../../src/replicas/poll-budget.ts'
import { createSharedAccountLimit, type AccountLimit } from '../../src/replicas/account-limit.ts'
import { createRateLimits } from '../../src/replicas/rate-limits.ts'
import type { PollBudget } from '../../src/tasks/rates.ts'
import { systemClock } from '../../src/system.ts'
import { Redis } from 'ioredis'
import { openTestDatabase } from '../support/database.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { TEST_REDIS_URL } from '../support/redis.ts'
import { startRedis } from '../support/servers.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

describe.each(['PostgreSQL', 'Redis'])('over %s', (kind) => {
  test('the limit of an owner holds over all replicas together', async () => {
    await using opened = new AsyncDisposableStack()
    const database = opened.use(await openTestDatabase())
    const limit = 4
    const settings = {
      DATABASE_URL: database.url,
      // A server of its own: the owner is that of other tests, too.
      ...(kind === 'Redis' && { REDIS_URL: opened.use(await startRedis()).url }),
      OWNER_RATE_LIMIT: `${limit}/600s`,
      UPSTREAM_RATE_LIMIT: '0',
    }
    const replicas = [opened.use(await startGateway(settings)), opened.use(await startGateway(settings))]
    let taken = 0
    /** Submits until a submit is refused. */
    const useUp = async (gateway: Gateway | undefined) => {
      for (;;) {
        const input = { taskId: `source-${taken}`, imageIndex: 0 }
        const answer = await gateway?.run('HTTP', UpscaleImageDocument, { input })
        const code = answer?.data?.upscaleImage?.problem?.code
        if (code === 'RATE_LIMITED') return
        expect(code).toBeUndefined()
        taken += 1
      }
    }
    for (const replica of replicas) await useUp(replica)
    expect(taken).toBe(limit)
  })

  /** The limiters of one replica. */
  async function openLimiters(opened: AsyncDisposableStack, url: string): Promise<CreateLimiter> {
    if (kind === 'Redis') {
      const client = opened.adopt(new Redis(TEST_REDIS_URL ?? ''), (each) => each.disconnect())
      // Until it is connected, a replica counts for itself.
      await client.ping()
      return createRedisLimiter(client)
    }
    return createPostgresLimiter(opened.adopt(openPool(url, silent, 2), (each) => each.end()))
  }

  /** Two replicas' budgets over one store, with windows of this length. */
  async function openTwoBudgets(opened: AsyncDisposableStack, perMs: number): Promise<PollBudget[]> {
    const database = opened.use(await openTestDatabase())
    opened.use(await database.open(createLocalHints()))
    const name = randomUUID()
    const open = async () => {
      const createLimiter = await openLimiters(opened, database.url)
      return createSharedPollBudget((_, rate) => createLimiter(name, { ...rate, perMs }), 5, systemClock)
    }
    return [await open(), await open()]
  }

  /** The account's limit as two replicas see it. */
  async function openTwoAccountLimits(opened: AsyncDisposableStack, rate: Rate): Promise<AccountLimit[]> {
    const database = opened.use(await openTestDatabase())
    opened.use(await database.open(createLocalHints()))
    const name = randomUUID()
    const open = async () => {
      const createLimiter = await openLimiters(opened, database.url)
      return createSharedAccountLimit(name, createLimiter, systemClock, rate)
    }
    return [await open(), await open()]
  }

  test('all replicas together take as much as the account allows, and no more in any interval', async () => {
    await using opened = new AsyncDisposableStack()
    const perMs = 1_000
    const limits = await openTwoAccountLimits(opened, { limit: 5, perMs })
    // A submit is counted at some time between these two.
    const taken: { readonly after: number; readonly before: number }[] = []
    const run = async (limit: AccountLimit) => {
      while (taken.length < 13) {
        const after = systemClock.elapsed()
        const waitMs = await limit.take()
        if (waitMs === null) taken.push({ after, before: systemClock.elapsed() })
        else await new Promise<void>((resolve) => void systemClock.after(waitMs, resolve))
      }
    }
    await Promise.all([...limits, ...limits].map(run))
    taken.sort((one, other) => one.before - other.before)
    // Windows end by clocks with whole milliseconds.
    const toleranceMs = 5
    for (const [index, sixth] of taken.entries()) {
      if (index < 5) continue
      const earliest = Math.min(...taken.slice(index - 5, index + 1).map(({ after }) => after))
      expect(sixth.before - earliest).toBeGreaterThan(perMs - toleranceMs)
    }
  })

  test('a submit that was not sent is free for another one, and the budget counts those of all replicas', async () => {
    await using opened = new AsyncDisposableStack()
    const [one, two] = await openTwoAccountLimits(opened, { limit: 3, perMs: 600_000 })
    const budget = async () => (await two?.budget(0))?.remaining
    expect([await budget(), await one?.take(), await one?.take(), await budget()]).toEqual([3, null, null, 1])
    await one?.giveBack()
    expect(await budget()).toBe(2)
    expect([await two?.take(), await two?.take()]).toEqual([null, null])
    expect(await two?.take()).toBeGreaterThan(0)
    expect(await one?.take()).toBeGreaterThan(0)
  })

  test('a refused owner takes nothing of the account; a submit that the account refuses does not count for its owner', async () => {
    await using opened = new AsyncDisposableStack()
    const database = opened.use(await openTestDatabase())
    opened.use(await database.open(createLocalHints()))
    const create = await openLimiters(opened, database.url)
    const fleet = randomUUID()
    const createLimiter: CreateLimiter = (name, rate) => create(`${fleet}:${name}`, rate)
    const perMs = 600_000
    const rates = { owner: { limit: 2, perMs }, engines: { kie: { limit: 3, perMs } } }
    const limits = createRateLimits(rates, systemClock, createLimiter, (engine, rate) =>
      createSharedAccountLimit(engine, createLimiter, systemClock, rate),
    )
    const take = async (owner: string) => (await limits.take(owner, 'kie'))?.code
    const remaining = async () => (await limits.account('kie', 0))?.remaining
    expect([await take('alice'), await take('alice'), await take('alice')]).toEqual([
      undefined,
      undefined,
      'RATE_LIMITED',
    ])
    expect((await limits.take('alice', 'kie'))?.retryAfterMs).toBeGreaterThan(perMs - 60_000)
    expect(await remaining()).toBe(1)
    expect([await take('bob'), await take('bob'), await remaining()]).toEqual([
      undefined,
      'UPSTREAM_RATE_LIMITED',
      0,
    ])
    // The refusal of the owner comes first.
    expect(await take('alice')).toBe('RATE_LIMITED')
    expect([await limits.takeForOwner('bob'), (await limits.takeForOwner('bob'))?.code]).toEqual([
      null,
      'RATE_LIMITED',
    ])
  })

  test('the poll budget is one for all, and what is given back is another one’s', async () => {
    await using opened = new AsyncDisposableStack()
    const [one, two] = await openTwoBudgets(opened, 600_000)
    expect(await one?.take(5)).toBe(5)
    expect([await two?.take(5), await two?.wait(0)]).toEqual([0, false])
    await one?.giveBack(3)
    expect([await two?.wait(0), await two?.take(5), await one?.take(5)]).toEqual([true, 2, 0])
  })

  test('the poll budget is there again in the next window', async () => {
    await using opened = new AsyncDisposableStack()
    const [one, two] = await openTwoBudgets(opened, 1_000)
    expect(await one?.take(5)).toBe(5)
    expect(await two?.wait(20_000)).toBe(true)
  })
})

test('windows in PostgreSQL that were begun before the clock was set back begin anew', async () => {
  await using opened = new AsyncDisposableStack()
  const database = opened.use(await openTestDatabase())
  opened.use(await database.open(createLocalHints()))
  const pool = opened.adopt(openPool(database.url, silent, 2), (each) => each.end())
  const create = createPostgresLimiter(pool)
  const limiter = create('owner', { limit: 2, perMs: 60_000 })
  const limits = createRateLimits(
    { owner: { limit: 2, perMs: 60_000 }, engines: {} },
    systemClock,
    create,
    (engine, rate) => createSharedAccountLimit(engine, create, systemClock, rate),
  )
  const budget = createSharedPollBudget(create, 5, systemClock)
  const setBack = () => pool.query('update rate_limit set expire = expire + 3600000')
  const take = async () => (await limits.take('alice', 'kie-midjourney'))?.code
  expect([await take(), await take(), await take()]).toEqual([undefined, undefined, 'RATE_LIMITED'])
  expect(await budget.take(5)).toBe(5)
  await setBack()
  expect(await take()).toBeUndefined()
  expect(await budget.take(5)).toBe(5)
  await setBack()
  // One that still had room counts in a window of its length, too.
  expect(await take()).toBeUndefined()
  expect((await limiter.get('alice'))?.msBeforeNext).toBeLessThanOrEqual(60_000)
})

test('in PostgreSQL one statement counts for the owner and for the account; windows of both begin anew after the clock was set back', async () => {
  await using opened = new AsyncDisposableStack()
  const database = opened.use(await openTestDatabase())
  opened.use(await database.open(createLocalHints()))
  const pool = opened.adopt(openPool(database.url, silent, 2), (each) => each.end())
  let statements = 0
  const create = createPostgresLimiter({
    query(statement) {
      statements += 1
      return pool.query(statement)
    },
  })
  const perMs = 60_000
  // A slot counts two submits, so that its window can be found again.
  const rates = { owner: { limit: 2, perMs }, engines: { kie: { limit: 200, perMs } } }
  const limits = createRateLimits(rates, systemClock, create, (engine, rate) =>
    createSharedAccountLimit(engine, create, systemClock, rate),
  )
  const take = async () => (await limits.take('alice', 'kie'))?.code
  const readWindows = async () => {
    const { rows } = await pool.query<{ points: number; endsIn: number }>(
      `select points, expire - $1::bigint as "endsIn" from rate_limit order by points desc`,
      [Date.now()],
    )
    return rows
  }
  expect(await take()).toBeUndefined()
  expect(statements).toBe(1)
  expect((await readWindows()).map(({ points }) => points)).toEqual([1, 1])
  // All slots have windows.
  for (let slot = 0; slot < 100; slot += 1) await create('kie', { limit: 2, perMs }).consume(String(slot))
  await create('owner', rates.owner).consume('alice')
  await pool.query('update rate_limit set points = 2, expire = expire + 3600000')
  expect(await take()).toBeUndefined()
  const restarted = (await readWindows()).filter(({ endsIn }) => endsIn <= perMs)
  expect(restarted.map(({ points }) => points)).toEqual([1, 1])
})
