/**
 * What is measured of a contender. Each measure starts it anew, warms it up, and gives the median of its
 * rounds.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { Pool } from 'undici'
import { atRate, many } from '../replica.ts'
import type { Memory, Running, WaitingTask } from './contender.ts'
import { Audience } from './subscriber.ts'
import type { StubUpstream } from './upstream.ts'

const RESULT = 'https://example.com/result.png'
const CONNECTIONS = 64

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (index: number) => sorted[Math.floor(index)] ?? NaN
  return (at((sorted.length - 1) / 2) + at(sorted.length / 2)) / 2
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN
}

/**
 * Callbacks settled in a second: each of another task, as fast as they are taken, by one process or by
 * several in turn.
 */
export async function callbacksPerSecond(running: Running | readonly Running[], rounds = 5): Promise<number> {
  const COUNT = 3_000
  const [first = never(), ...others] = [running].flat()
  await using pools = openPools([first, ...others])
  const rates: number[] = []
  for (let round = 0; round <= rounds; round += 1) {
    const tasks = await first.tasks(COUNT)
    const startedAt = performance.now()
    await many(COUNT, CONNECTIONS, (n) => callBack(pools.at(n), tasks[n] ?? never()))
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

/** So many events are to be measured, after as many as make code hot, however many subscribers share them. */
const EVENTS = 55_000
const WARMING_EVENTS = 15_000

/** Events delivered to so many subscribers, each of a task of its own or all of one. */
export async function events(
  running: Running,
  { subscribers, distinct }: { subscribers: number; distinct: boolean },
): Promise<Events> {
  const warming = Math.ceil(WARMING_EVENTS / subscribers)
  const rounds = warming + Math.ceil(EVENTS / subscribers)
  const tasks = (await running.tasks(distinct ? subscribers : 1)).map(({ id }) => id)
  using audience = new Audience(running.port)
  await audience.follow(Array.from({ length: subscribers }, (_, n) => tasks[n % tasks.length] ?? ''))
  const rates: number[] = []
  const costs: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    const cpuBefore = await running.cpu()
    const startedAt = performance.now()
    const arrived = audience.expect(subscribers)
    void running.publish(tasks)
    await arrived
    rates.push(subscribers / ((performance.now() - startedAt) / 1_000))
    costs.push(((await running.cpu()) - cpuBefore) * (1_000 / subscribers))
  }
  return { perSecond: median(rates.slice(warming)), cpuMicros: median(costs.slice(warming)) }
}

/**
 * Held for one idle subscription on a socket of its own, after so many others: what the first few cost is
 * code, and the next ones fill memory that the process holds already.
 */
export async function memoryPerSubscription(
  running: Running,
  subscribers: number,
  others: number,
): Promise<Memory> {
  using audience = new Audience(running.port)
  await audience.follow((await running.tasks(others)).map(({ id }) => id))
  const tasks = await running.tasks(subscribers)
  await pause(4_000)
  const before = await running.memory()
  await audience.follow(tasks.map(({ id }) => id))
  // Time-outs of the start of a connection run out.
  await pause(4_000)
  const after = await running.memory()
  return {
    resident: (after.resident - before.resident) / subscribers,
    heap: (after.heap - before.heap) / subscribers,
  }
}

/** Mutations answered in a second, while the upstream accepts at once. */
export async function mutationsPerSecond(
  running: Running,
  upstream: StubUpstream,
  rounds = 7,
): Promise<number> {
  const COUNT = 1_500
  upstream.delayMs = 0
  await using pools = openPools([running])
  const rates: number[] = []
  for (let round = 0; round <= rounds; round += 1) {
    const startedAt = performance.now()
    await many(COUNT, CONNECTIONS, (n) => mutate(pools.at(0), `fast-${startedAt}-${n}`))
    rates.push(COUNT / ((performance.now() - startedAt) / 1_000))
  }
  return median(rates.slice(1))
}

/** How much longer than the upstream took a mutation takes, in milliseconds, at 100 a second. */
export async function ownShareMs(running: Running, upstream: StubUpstream): Promise<readonly number[]> {
  upstream.delayMs = 0
  await using pools = openPools([running])
  await many(2_000, 16, (n) => mutate(pools.at(0), `warm-${n}`))
  await running.memory()
  upstream.delayMs = 100
  const times = await atRate(100, 1_000, async (n) => {
    const startedAt = performance.now()
    await mutate(pools.at(0), `slow-${n}`)
    return performance.now() - startedAt - (upstream.held.get(`slow-${n}`) ?? never())
  })
  upstream.held.clear()
  return times
}

/**
 * From sending a callback until its subscriber has the event, in milliseconds, at 500 a second. Of several
 * processes the next one has the subscriber. Everyone subscribes before the first callback that counts.
 */
export async function callbackToSubscriberMs(
  running: Running | readonly Running[],
  { warm = 2_000, count = 5_000, idle = 0 } = {},
): Promise<readonly number[]> {
  const [first = never(), ...others] = [running].flat()
  const all = [first, ...others]
  await using pools = openPools(all)
  using audiences = new DisposableStack()
  const rooms = all.map(({ port }) => audiences.use(new Audience(port)))
  const room = (n: number) => rooms[(n + 1) % rooms.length] ?? never()
  const follow = (tasks: readonly WaitingTask[]) =>
    Promise.all(
      rooms.map((each) => each.follow(tasks.filter((_, n) => room(n) === each).map(({ id }) => id))),
    )
  const callAll = async (tasks: readonly WaitingTask[]) => {
    const sentAt = new Map<string, number>()
    const times: number[] = []
    const arrived = Promise.withResolvers<void>()
    for (const each of rooms)
      each.onEvent = (id) => {
        const at = sentAt.get(id)
        if (at === undefined) return
        sentAt.delete(id)
        times.push(performance.now() - at)
        if (times.length === tasks.length) arrived.resolve()
      }
    await atRate(500, tasks.length, (n) => {
      const task = tasks[n] ?? never()
      sentAt.set(task.id, performance.now())
      return callBack(pools.at(n), task)
    })
    await arrived.promise
    return times
  }
  const warming = await first.tasks(warm)
  await follow(warming)
  await callAll(warming)
  const tasks = await first.tasks(count + idle)
  await follow(tasks)
  // What opening thousands of sockets has left behind is not what is measured.
  await Promise.all(all.map((each) => each.memory()))
  return await callAll(tasks.slice(0, count))
}

function openPools(running: readonly Running[]) {
  const pools = running.map(({ port }) => new Pool(`http://127.0.0.1:${port}`, { connections: CONNECTIONS }))
  return {
    at: (n: number): Pool => pools[n % pools.length] ?? never(),
    async [Symbol.asyncDispose]() {
      await Promise.all(pools.map((pool) => pool.destroy()))
    },
  }
}

const JSON_HEADERS = { 'content-type': 'application/json' }

export async function callBack(pool: Pool, { callBackPath, upstreamTaskId }: WaitingTask): Promise<void> {
  const data = { taskId: upstreamTaskId ?? 'upstream', resultUrls: [RESULT] }
  const body = JSON.stringify({ code: 200, msg: 'success', data })
  const response = await pool.request({ method: 'POST', path: callBackPath, headers: JSON_HEADERS, body })
  const text = await response.body.text()
  if (response.statusCode !== 200)
    throw new Error(`A callback was answered with ${response.statusCode}: ${text}`)
}

const MUTATION =
  'mutation ($input: UpscaleImageInput!) { upscaleImage(input: $input) { task { id status version } } }'

async function mutate(pool: Pool, taskId: string): Promise<void> {
  const body = JSON.stringify({ query: MUTATION, variables: { input: { taskId, imageIndex: 0 } } })
  const response = await pool.request({ method: 'POST', path: '/graphql', headers: JSON_HEADERS, body })
  const text = await response.body.text()
  if (!text.includes('"PROCESSING"')) throw new Error(`A mutation was answered with ${text}`)
}

function never(): never {
  throw new Error('unreachable')
}
