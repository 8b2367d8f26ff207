import { afterAll, beforeAll, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { createMemoryLimiter } from '../../src/replicas/limiters.ts'
import { createPollBudget } from '../../src/replicas/poll-budget.ts'
import { createLocalAccountLimit } from '../../src/replicas/account-limit.ts'
import { createRateLimits } from '../../src/replicas/rate-limits.ts'
import type { Stores } from '../../src/store/sql.ts'
import { systemSecrets } from '../../src/system.ts'
import type { TaskStore } from '../../src/tasks/store-port.ts'
import type { QueueStore } from '../../src/tasks/queue/queue-ports.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { createTasks, type Tasks } from '../../src/tasks/tasks.ts'
import { openKieMidjourney } from '../support/engines.ts'
import { openEngines } from '../../src/upstream/engines.ts'
import { ManualClock } from '../support/clock.ts'
import { createLife, type Life } from '../support/crash.ts'
import { openTestDatabase, type TestDatabase } from '../support/database.ts'
import { POLICY } from '../support/policy.ts'
import { TEST_DATABASE_URL } from '../support/postgres.ts'
import { json, startScriptedUpstream, text, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { NO_TRACING } from '../../src/tasks/tracing.ts'

const TRACE = { correlationId: 'c', traceparent: null } as const

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }
const LIMIT = 2
const HOUR_MS = 3_600_000
const OWNERS = ['a', 'b'] as const

/** What becomes of a paid request. `crashed`: its sender dies while the upstream accepts it. */
const FATES = ['accepted', 'busy', 'maintenance', 'unreachable', 'broke', 'lost', 'crashed'] as const
type Fate = (typeof FATES)[number]
/** These prove that nothing was charged, and the task is sent again later. */
const TEMPORARY: readonly Fate[] = ['busy', 'maintenance', 'unreachable']
/** After these the upstream may have accepted the task. */
const PAID: readonly Fate[] = ['accepted', 'lost', 'crashed']

interface Post {
  readonly id: string
  readonly token: string
  readonly sender: number
  readonly fate: Fate
}

interface Inserted {
  readonly task: UpscaleTask
  /** Its idempotency key. */
  readonly claim: string | null
  readonly force: boolean
}

const at = fc.constantFrom(0, 1)
const owner = fc.constantFrom(...OWNERS)
const nth = fc.nat(3)
const action = fc.oneof(
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constant('submit' as const),
      at,
      owner,
      source: fc.constantFrom('s1', 's2', 's3', 's4', 's5', 's6'),
      key: fc.constantFrom(null, null, 'k1', 'k2'),
      queue: fc.constantFrom(true, true, true, false),
      force: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('send' as const), at }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 60_000 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('set' as const), ms: fc.integer({ min: -HOUR_MS, max: 60_000 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('poll' as const), at }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom('cancel' as const, 'race' as const), at, nth }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('crash' as const), at, steps: fc.integer({ min: 1, max: 25 }) }),
  },
)
type Action = typeof action extends fc.Arbitrary<infer T> ? T : never
const fates = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.constant('accepted' as const) },
    { weight: 4, arbitrary: fc.constantFrom(...FATES) },
  ),
  { maxLength: 30 },
)

let database: TestDatabase
let upstream: ScriptedUpstream
const hints = createLocalHints()
const stores: Stores[] = []
beforeAll(async () => {
  database = await openTestDatabase()
  upstream = await startScriptedUpstream()
  for (let n = 0; n < 2; n += 1) stores.push(await database.open(hints))
})
afterAll(async () => {
  for (const each of [...stores, database, upstream]) await each[Symbol.asyncDispose]()
})

/**
 * Two processes on one database and one upstream. A process that has crashed is replaced by a new one when it
 * is needed.
 */
function openWorld(planned: readonly Fate[]) {
  const clock = new ManualClock()
  const upcoming = [...planned]
  const posts: Post[] = []
  /** The tasks in the order of their inserts, and of their first claims. */
  const inserted: Inserted[] = []
  const claimed: string[] = []
  const canceled = new Map<string, number>()
  const processes: { readonly life: Life; readonly tasks: Tasks; readonly dispose: () => void }[] = []
  const current: [number, number] = [0, 0]
  const limits = createRateLimits(
    { engines: { 'kie-midjourney': { limit: 2, perMs: 10_000 } }, owner: null },
    clock,
    createMemoryLimiter,
    (_engine, rate) => createLocalAccountLimit(clock, rate),
  )
  upstream.onCreate = (response, request) => {
    const { callBackUrl } = JSON.parse(request.body) as { callBackUrl: string }
    const [, sender = '', id = '', token = ''] = new URL(callBackUrl).pathname.split('/')
    const fate = upcoming.shift() ?? 'accepted'
    posts.push({ id, token, sender: Number(sender), fate })
    if (fate === 'crashed') processes[Number(sender)]?.life.die()
    const answers = {
      accepted: json(200, { code: 200, data: { taskId: `upstream-${id}` } }),
      crashed: json(200, { code: 200, data: { taskId: `upstream-${id}` } }),
      busy: json(200, { code: 429, msg: 'busy' }),
      maintenance: json(200, { code: 455, msg: 'maintenance' }),
      unreachable: text(521, 'down'),
      broke: json(200, { code: 402, msg: 'no credits' }),
      lost: () => void response.destroy(),
    }
    answers[fate](response, request)
  }
  upstream.onLookup = json(200, {
    code: 200,
    data: { successFlag: 1, resultInfoJson: { resultUrls: [{ resultUrl: 'https://example.com/a.png' }] } },
  })

  const observe = ({ store, queueStore }: Stores) => ({
    store: new Proxy<TaskStore>(store, {
      get: (target, name) => {
        if (name !== 'insert') return toMethod(target, name)
        const insert: TaskStore['insert'] = async (task, options) => {
          const insertion = await target.insert(task, options)
          if (insertion.inserted)
            inserted.push({ task, claim: options.key?.claim ?? null, force: options.force ?? false })
          return insertion
        }
        return insert
      },
    }),
    queueStore: new Proxy<QueueStore>(queueStore, {
      get: (target, name) => {
        if (name !== 'claimQueued') return toMethod(target, name)
        const claim: QueueStore['claimQueued'] = async (...args) => {
          const tasks = await target.claimQueued(...args)
          for (const { id } of tasks) if (!claimed.includes(id)) claimed.push(id)
          return tasks
        }
        return claim
      },
    }),
  })

  const start = (slot: 0 | 1) => {
    const own = stores[slot]
    if (own === undefined) throw new Error('There is no store')
    const life = createLife()
    const index = processes.length
    const engine = openKieMidjourney({ url: upstream.url, timeoutMs: 5_000, clock, log: silent })
    const engines = openEngines([life.wrap(engine)], { onCircuit: () => undefined })
    const { store, queueStore } = observe(own)
    const tasks = createTasks({
      store: life.wrap(store),
      queueStore: life.wrap(queueStore),
      hints,
      engines,
      clock,
      secrets: systemSecrets,
      limits,
      budget: createPollBudget(clock, POLICY.pollsPerSecond),
      log: silent,
      tracing: NO_TRACING,
      deliveries: { add: () => Promise.resolve(true), wake: () => undefined },
      wakeQueue: () => undefined,
      wakeResults: () => undefined,
      policy: { ...POLICY, queueLimit: LIMIT },
      callbackUrl: (id, token) => `http://gateway.example.com/${index}/${id}/${token}`,
    })
    processes.push({ life, tasks, dispose: () => engines[Symbol.dispose]() })
    current[slot] = index
  }
  start(0)
  start(1)
  const at = (slot: 0 | 1) => {
    if (processes[current[slot]]?.life.isDead) start(slot)
    const process = processes[current[slot]]
    if (process === undefined) throw new Error('There is no process')
    return process
  }
  return { clock, posts, upcoming, inserted, claimed, canceled, processes, at }
}

type World = ReturnType<typeof openWorld>

function toMethod(target: object, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name)
  return typeof value === 'function'
    ? (...args: unknown[]): unknown => Reflect.apply(value, target, args)
    : value
}

/** Resolves when no process does anything until the clock moves. */
async function settle({ processes }: World): Promise<void> {
  for (let quiet = 0; quiet < 4;) {
    await new Promise(setImmediate)
    quiet = processes.some(({ life }) => life.running > 0) ? 0 : quiet + 1
  }
}

/** Starts an action; it may never end, if its process dies. */
function begin(world: World, act: Action): void {
  const { clock, at, inserted } = world
  switch (act.do) {
    case 'submit':
      ignore(submit(world, act))
      break
    case 'send':
      ignore(at(act.at).tasks.sendQueued())
      break
    case 'poll':
      ignore(at(act.at).tasks.pollDue())
      break
    case 'advance':
      clock.advance(act.ms)
      break
    case 'set':
      clock.step(act.ms)
      break
    case 'race':
      // One process cancels a task while the other one sends it.
      clock.advance(10_000)
      begin(world, { do: 'send', at: act.at === 0 ? 1 : 0 })
      begin(world, { ...act, do: 'cancel' })
      break
    case 'cancel': {
      const task = inserted.at(-1 - act.nth)?.task
      if (task !== undefined) ignore(cancel(world, act.at, task))
      break
    }
    case 'crash':
      at(act.at).life.dieAfter(act.steps)
      break
    default:
      act satisfies never
  }
}

const ignore = (work: Promise<unknown>) => void work.catch(() => undefined)

function submit({ at }: World, { at: slot, owner, source, key, queue, force }: Action & { do: 'submit' }) {
  const picture = { sourceTaskId: source, imageIndex: 0, waterMark: null }
  const rest = { engine: null, idempotencyKey: key, callBackUrl: null, force, queue, ...TRACE }
  return at(slot).tasks.submit({ owner, ...picture, ...rest })
}

async function cancel(
  { at, canceled, posts }: World,
  slot: 0 | 1,
  { owner, id }: UpscaleTask,
): Promise<void> {
  const after = await at(slot).tasks.cancel(owner, id)
  if (after?.failure?.code === 'CANCELLED' && !canceled.has(id))
    canceled.set(id, posts.filter((post) => post.id === id).length)
}

async function readAll(): Promise<UpscaleTask[]> {
  const [own] = stores
  if (own === undefined) return []
  const lists = OWNERS.map((owner) => own.store.list({ owner, status: null, after: null, limit: 100 }))
  return (await Promise.all(lists)).flat()
}

const isOpen = ({ status }: UpscaleTask) => status === 'SUBMITTED' || status === 'PROCESSING'

/** Without further crashes: the upstream accepts all tasks, and the clock moves until all have settled. */
async function finish(world: World): Promise<UpscaleTask[]> {
  world.upcoming.length = 0
  for (const slot of [0, 1] as const) world.at(slot).life.dieAfter(Infinity)
  for (let round = 0; round < 40; round += 1) {
    world.clock.advance(round < 10 ? 10_000 : 300_000)
    for (const slot of [0, 1] as const) {
      begin(world, { do: 'send', at: slot })
      await settle(world)
      begin(world, { do: 'poll', at: slot })
      await settle(world)
    }
    const tasks = await readAll()
    if (!tasks.some(isOpen)) return tasks
  }
  return readAll()
}

async function checkLimit(): Promise<void> {
  const tasks = await readAll()
  for (const owner of OWNERS) {
    // A task that the upstream has refused goes back into a queue that may be full.
    const waiting = tasks.filter(
      (task) => task.owner === owner && task.queueRank !== null && task.queueAttempts === 0,
    )
    expect(waiting.length).toBeLessThanOrEqual(LIMIT)
  }
}

function checkPosts({ posts, canceled, processes }: World, tasks: readonly UpscaleTask[]): void {
  expect(new Set(posts.map(({ token }) => token)).size).toBe(posts.length)
  for (const { id, status, failure } of tasks) {
    const own = posts.filter((post) => post.id === id)
    const last = own.at(-1)
    // Sent again only after answers that prove that nothing was charged.
    for (const { fate } of own.slice(0, -1)) expect(TEMPORARY).toContain(fate)
    expect(['SUCCEEDED', 'FAILED']).toContain(status)
    if (canceled.has(id)) expect([failure?.code, own.length]).toEqual(['CANCELLED', canceled.get(id)])
    const survived = last !== undefined && !processes[last.sender]?.life.isDead
    if (survived && last.fate === 'accepted') expect(status).toBe('SUCCEEDED')
    if (survived && last.fate === 'broke') expect(failure?.code).toBe('INSUFFICIENT_CREDITS')
    if (survived && last.fate === 'lost') expect(failure?.code).toBe('UPSTREAM_OUTCOME_UNKNOWN')
  }
}

/** No key is paid for twice, and no picture without `force`. */
function checkPayments({ posts, inserted }: World, names: (each: Inserted) => string | null): void {
  const paid = new Set(posts.filter(({ fate }) => PAID.includes(fate)).map(({ id }) => id))
  const named = inserted.filter(({ task }) => paid.has(task.id)).map(names)
  const all = named.filter((name) => name !== null)
  expect(new Set(all).size).toBe(all.length)
}

/** Each owner's tasks are claimed in the order of their inserts. */
function checkOrder({ inserted, claimed }: World): void {
  for (const owner of OWNERS) {
    const order = inserted.filter(({ task }) => task.owner === owner).map(({ task }) => task.id)
    const claims = claimed.filter((id) => order.includes(id))
    expect(claims).toEqual(order.filter((id) => claims.includes(id)))
  }
}

async function play(actions: readonly Action[], planned: readonly Fate[], together: boolean): Promise<void> {
  await database.deleteTasks()
  const world = openWorld(planned)
  try {
    for (const [index, act] of actions.entries()) {
      begin(world, act)
      if (together && index % 3 !== 0) continue
      await settle(world)
      await checkLimit()
    }
    await settle(world)
    const tasks = await finish(world)
    checkPosts(world, tasks)
    if (!actions.some((act) => act.do === 'crash') && !planned.includes('crashed'))
      for (const task of tasks)
        if (task.failure?.code === 'UPSTREAM_OUTCOME_UNKNOWN')
          expect(world.posts.filter(({ id }) => id === task.id).at(-1)?.fate).toBe('lost')
    checkPayments(world, ({ claim }) => claim)
    // With the clock set back, a younger task can be due before an older one, and deadlines come earlier.
    if (actions.some((act) => act.do === 'set')) return
    checkPayments(world, ({ task, force }) => (force ? null : task.pictureDigest))
    // Claims of two processes at once may end in any order.
    if (!together) checkOrder(world)
  } finally {
    for (const { life, dispose } of world.processes) {
      life.die()
      dispose()
    }
  }
}

test('after crashes at any point no task is sent twice, lost, or sent after its cancel, and tasks of one owner are claimed in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 4, maxLength: 30 }), fates, fc.boolean(), play),
    { numRuns: TEST_DATABASE_URL === undefined ? 100 : 40 },
  )
}, 60_000)
