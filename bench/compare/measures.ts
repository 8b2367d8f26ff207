/** What is measured of a contender. Each measure starts it anew, warms it up, and gives the median of its rounds. */
import { setTimeout as pause } from 'node:timers/promises'
import { Pool } from 'undici'
import { atRate, many } from '../replica.ts'
import type { Running, WaitingTask } from './contender.ts'
import { Audience } from './subscriber.ts'
import type { StubUpstream } from './upstream.ts'

const RESULT = 'https://example.com/result.png'
const CONNECTIONS = 64

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN
}

/** Callbacks settled in a second: each of another task, as fast as they are taken. */
export async function callbacksPerSecond(running: Running, rounds = 7): Promise<number> {
  const COUNT = 3_000
  await using pool = openPool(running)
  const rates: number[] = []
  for (let round = 0; round <= rounds; round += 1) {
    const tasks = await running.tasks(COUNT)
    const startedAt = performance.now()
    await many(COUNT, CONNECTIONS, (n) => callBack(pool, tasks[n] ?? never()))
    rates.push(COUNT / ((performance.now() - startedAt) / 1_000))
  }
  return median(rates.slice(1))
}

export interface Events {
  /** Delivered in a second. */
  readonly perSecond: number
  /** Of the contender's core, for one event, in microseconds. */
  readonly cpuMicros: number
}

/** Events delivered to so many subscribers, each of a task of its own or all of one. */
export async function events(
  running: Running,
  { subscribers, distinct }: { subscribers: number; distinct: boolean },
  rounds = 15,
): Promise<Events> {
  const tasks = (await running.tasks(distinct ? subscribers : 1)).map(({ id }) => id)
  using audience = new Audience(running.port)
  await audience.follow(Array.from({ length: subscribers }, (_, n) => tasks[n % tasks.length] ?? ''))
  const rates: number[] = []
  const costs: number[] = []
  for (let round = 0; round < rounds + 3; round += 1) {
    const cpuBefore = await running.cpu()
    const startedAt = performance.now()
    const arrived = audience.expect(subscribers)
    void running.publish(tasks)
    await arrived
    rates.push(subscribers / ((performance.now() - startedAt) / 1_000))
    costs.push(((await running.cpu()) - cpuBefore) * (1_000 / subscribers))
  }
  return { perSecond: median(rates.slice(3)), cpuMicros: median(costs.slice(3)) }
}

/** Bytes held for one idle subscription on a socket of its own. */
export async function bytesPerSubscription(running: Running, subscribers: number): Promise<number> {
  using audience = new Audience(running.port)
  // What the first few cost is code, not subscriptions.
  await audience.follow((await running.tasks(200)).map(({ id }) => id))
  const tasks = await running.tasks(subscribers)
  await pause(4_000)
  const before = await running.memory()
  await audience.follow(tasks.map(({ id }) => id))
  // Time-outs of the start of a connection run out.
  await pause(4_000)
  return ((await running.memory()) - before) / subscribers
}

/** Mutations answered in a second, while the upstream accepts at once. */
export async function mutationsPerSecond(
  running: Running,
  upstream: StubUpstream,
  rounds = 7,
): Promise<number> {
  const COUNT = 1_500
  upstream.delayMs = 0
  await using pool = openPool(running)
  const rates: number[] = []
  for (let round = 0; round <= rounds; round += 1) {
    const startedAt = performance.now()
    await many(COUNT, CONNECTIONS, (n) => mutate(pool, `fast-${round}-${n}`))
    rates.push(COUNT / ((performance.now() - startedAt) / 1_000))
  }
  return median(rates.slice(1))
}

/** How much longer than the upstream took a mutation takes, in milliseconds, at 100 a second. */
export async function ownShareMs(running: Running, upstream: StubUpstream): Promise<readonly number[]> {
  upstream.delayMs = 0
  await using pool = openPool(running)
  await many(2_000, 16, (n) => mutate(pool, `warm-${n}`))
  upstream.delayMs = 100
  const times = await atRate(100, 1_000, async (n) => {
    const startedAt = performance.now()
    await mutate(pool, `slow-${n}`)
    return performance.now() - startedAt - (upstream.held.get(`slow-${n}`) ?? never())
  })
  upstream.held.clear()
  return times
}

/** From sending a callback until its subscriber has the event, in milliseconds, at 500 a second. */
export async function callbackToSubscriberMs(running: Running): Promise<readonly number[]> {
  const WARM = 2_000
  const COUNT = 5_000
  await using pool = openPool(running)
  using audience = new Audience(running.port)
  const sentAt = new Map<string, number>()
  const times: number[] = []
  const callAll = async (tasks: readonly WaitingTask[]) => {
    await audience.follow(tasks.map(({ id }) => id))
    audience.onEvent = undefined
    times.length = 0
    const arrived = Promise.withResolvers<void>()
    let left = tasks.length
    audience.onEvent = (id) => {
      const at = sentAt.get(id)
      if (at === undefined) return
      times.push(performance.now() - at)
      sentAt.delete(id)
      left -= 1
      if (left === 0) arrived.resolve()
    }
    await atRate(500, tasks.length, (n) => {
      const task = tasks[n] ?? never()
      sentAt.set(task.id, performance.now())
      return callBack(pool, task)
    })
    await arrived.promise
  }
  await callAll(await running.tasks(WARM))
  await callAll(await running.tasks(COUNT))
  return [...times]
}

function openPool(running: Running) {
  const pool = new Pool(`http://127.0.0.1:${running.port}`, { connections: CONNECTIONS })
  return { pool, [Symbol.asyncDispose]: () => pool.destroy() }
}

type Load = ReturnType<typeof openPool>

const JSON_HEADERS = { 'content-type': 'application/json' }

async function callBack({ pool }: Load, { callBackPath, upstreamTaskId }: WaitingTask): Promise<void> {
  const data = { taskId: upstreamTaskId ?? 'upstream', resultUrls: [RESULT] }
  const body = JSON.stringify({ code: 200, msg: 'success', data })
  const response = await pool.request({ method: 'POST', path: callBackPath, headers: JSON_HEADERS, body })
  const text = await response.body.text()
  if (response.statusCode !== 200)
    throw new Error(`A callback was answered with ${response.statusCode}: ${text}`)
}

const MUTATION =
  'mutation ($input: UpscaleImageInput!) { upscaleImage(input: $input) { task { id status version } } }'

async function mutate({ pool }: Load, taskId: string): Promise<void> {
  const body = JSON.stringify({ query: MUTATION, variables: { input: { taskId, imageIndex: 0 } } })
  const response = await pool.request({ method: 'POST', path: '/graphql', headers: JSON_HEADERS, body })
  const text = await response.body.text()
  if (!text.includes('"PROCESSING"')) throw new Error(`A mutation was answered with ${text}`)
}

function never(): never {
  throw new Error('unreachable')
}
