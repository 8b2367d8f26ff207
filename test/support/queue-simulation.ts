import { openCore } from './core.ts'
import { createRandom } from './random.ts'
import { json } from './scripted-upstream.ts'
import { waitFor } from './wait-for.ts'

const STEP_MS = 500
/** Of the upstream's account. */
export const LIMIT = { limit: 20, perMs: 10_000 }

/** A request for this many pictures of one owner, at this time since the start. */
export interface Arrival {
  readonly atMs: number
  readonly owner: string
  readonly pictures: number
}

/** What was estimated and what happened, in Unix milliseconds. */
interface Estimate {
  readonly estimatedAt: number
  readonly actualAt: number
}

export interface Simulation {
  /** How long each task of an owner waited until it was sent, in milliseconds. */
  waits(owner: string): number[]
  /** The most requests that the upstream got in any interval of `perMs`. */
  readonly mostInInterval: number
  readonly starts: readonly Estimate[]
  readonly ends: readonly Estimate[]
}

/** About 20 s; one in ten takes more than 39 s (log-normal). */
function toRunMs(random: () => number): number {
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  return 20_000 * Math.exp(0.5 * normal)
}

/**
 * The real queue and store, before an upstream over HTTP that settles each task after a random time; the
 * clock is moved.
 */
export async function simulate(arrivals: readonly Arrival[], seed: number): Promise<Simulation> {
  await using core = await openCore({ queueLimit: null, deadlineMs: 86_400_000 }, { upstream: LIMIT })
  const { clock, tasks, upstream, store, queueStore } = core
  const random = createRandom(seed)
  const startedAt = clock.now()
  const received: number[] = []
  const running: { readonly id: string; readonly upstreamTaskId: string; readonly endsAt: number }[] = []
  upstream.onCreate = (response, request) => {
    received.push(clock.now())
    const upstreamTaskId = `upstream-${received.length}`
    const { callBackUrl, taskId } = JSON.parse(request.body) as { callBackUrl: string; taskId: string }
    const [, id = ''] = new URL(callBackUrl).pathname.split('/')
    // The same task takes the same time, whichever of several requests arrives first.
    const runMs = toRunMs(createRandom(seed + Number(taskId)))
    running.push({ id, upstreamTaskId, endsAt: clock.now() + runMs })
    json(200, { code: 200, data: { taskId: upstreamTaskId } })(response, request)
  }
  const ids: string[] = []
  const starts: { readonly id: string; readonly estimatedAt: number }[] = []
  const pending = arrivals.toSorted((one, other) => one.atMs - other.atMs)
  const arrive = async () => {
    while (pending[0] && pending[0].atMs <= clock.now() - startedAt) {
      const { owner, pictures } = pending.shift() ?? { owner: '', pictures: 0 }
      for (let picture = 0; picture < pictures; picture += 1) {
        const { task } = await core.submit({ owner, queue: true, sourceTaskId: String(ids.length) })
        if (task === null) throw new Error('refused')
        ids.push(task.id)
      }
    }
  }
  const settle = async () => {
    const ended = running.filter(({ endsAt }) => endsAt <= clock.now())
    for (const each of ended) {
      running.splice(running.indexOf(each), 1)
      const task = await store.read(each.id)
      if (task === undefined) throw new Error('the upstream settles an unknown task')
      const outcome = { kind: 'succeeded', imageUrls: ['https://example.com/a.png'] } as const
      await tasks.receive(task, { upstreamTaskId: each.upstreamTaskId, outcome })
    }
  }
  /** Reads the places of some waiting tasks, as their clients do. */
  const estimate = async () => {
    const waiting = await queueStore.listQueued(10_000)
    for (const task of waiting.filter(() => random() < 6 / waiting.length)) {
      const { id } = task
      const estimatedAt = (await tasks.findPlace(task))?.estimatedStartAt ?? null
      if (estimatedAt !== null) starts.push({ id, estimatedAt })
    }
  }
  const isAllAnswered = async () => {
    const waiting = await queueStore.listQueued(10_000)
    return ((await store.countByStatus()).SUBMITTED ?? 0) === waiting.length
  }
  const total = arrivals.reduce((sum, { pictures }) => sum + pictures, 0)
  for (let step = 0; ids.length < total || received.length < total || running.length > 0; step += 1) {
    await arrive()
    await tasks.sendQueued()
    await waitFor(isAllAnswered)
    await settle()
    if (step % 10 === 0) await estimate()
    clock.advance(STEP_MS)
  }
  const found = new Map((await store.readMany(ids)).map((task) => [task.id, task]))
  const all = [...found.values()]
  return {
    waits: (owner) =>
      all.flatMap((task) =>
        task.owner === owner && task.sentAt !== null ? [task.sentAt - task.createdAt] : [],
      ),
    mostInInterval: Math.max(
      ...received.map((at) => received.filter((other) => other >= at && other < at + LIMIT.perMs).length),
    ),
    starts: starts.flatMap(({ id, estimatedAt }) => {
      const actualAt = found.get(id)?.sentAt ?? null
      return actualAt === null ? [] : [{ estimatedAt, actualAt }]
    }),
    ends: all.flatMap(({ estimatedDoneAt, settledAt }) =>
      estimatedDoneAt === null || settledAt === null
        ? []
        : [{ estimatedAt: estimatedDoneAt, actualAt: settledAt }],
    ),
  }
}

/** The smallest value that a share of these does not exceed. */
export function toQuantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other)
  return sorted[Math.ceil(share * sorted.length) - 1] ?? Number.NaN
}

/** The share of outcomes that came by the estimate. */
export function toCoverage(estimates: readonly Estimate[]): number {
  return estimates.filter(({ estimatedAt, actualAt }) => actualAt <= estimatedAt).length / estimates.length
}
