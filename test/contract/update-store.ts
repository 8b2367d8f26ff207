import { expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import { inGroups } from '../support/in-groups.ts'
import { newTask } from '../support/new-task.ts'
import type { OpenStores, Stores } from './task-store.ts'

const HOOK = 'https://example.com/hook'

const accept = (task: UpscaleTask): UpscaleTask => ({
  ...task,
  version: task.version + 1,
  revision: task.revision + 1,
  status: 'PROCESSING',
  upstreamTaskId: `upstream "${task.id}" ✓`,
  dueAt: 5,
})

const settle = (task: UpscaleTask): UpscaleTask => ({
  ...task,
  version: task.version + 1,
  revision: task.revision + 1,
  status: 'SUCCEEDED',
  images: [{ url: `https://example.com/${task.id}`, expiresAt: 9, facts: null, copyState: 'OFF' }],
  settledAt: 7,
  updatedAt: 7,
  dueAt: null,
})

/**
 * What TaskStore.update must do when many are called at once; `setUp` gives a way to open a store on a fresh
 * database.
 */
export function describeUpdates(
  name: string,
  setUp: () => Promise<AsyncDisposable & { readonly open: OpenStores }>,
): void {
  const open = async (stack: AsyncDisposableStack): Promise<Stores> =>
    stack.use(await stack.use(await setUp()).open(createLocalHints()))

  const insertMany = async ({ store }: Stores, count: number, callBackUrl: string | null = null) => {
    const tasks = Array.from({ length: count }, (_, n) => newTask({ polls: n }))
    await inGroups(tasks, (task) => store.insert(task, { callBackUrl }))
    return tasks
  }

  test(`${name}: of 450 updates at once, each has its own outcome and writes its own columns`, async () => {
    await using stack = new AsyncDisposableStack()
    const stores = await open(stack)
    const { store } = stores
    const [accepted, stale, settled, delivered] = [
      await insertMany(stores, 150),
      await insertMany(stores, 100),
      await insertMany(stores, 120),
      await insertMany(stores, 80, HOOK),
    ]
    const moved = stale.map((task) => ({ ...task, revision: 2, upstreamTaskId: 'of another' }))
    await Promise.all(stale.map((task, n) => store.update(task, moved[n] ?? task)))
    const outcomes = await Promise.all([
      ...accepted.map((task) => store.update(task, accept(task))),
      ...stale.map((task) => store.update(task, settle(task))),
      ...settled.map((task) => store.update(task, settle(task))),
      ...delivered.map((task) => store.update(task, settle(task))),
    ])
    expect(outcomes).toEqual([
      ...accepted.map(() => 'updated'),
      ...stale.map(() => 'conflict'),
      ...settled.map(() => 'updated'),
      ...delivered.map(() => 'deliveriesDue'),
    ])
    const expected = [...accepted.map(accept), ...moved, ...settled.map(settle), ...delivered.map(settle)]
    const found = await inGroups(expected, ({ id }) => store.read(id))
    expect(found).toEqual(expected)
    const claimed = await stores.outbox.claimDue(9, 1_000, 500, { hosts: [], owners: [] })
    const versions = new Map(claimed.map(({ taskId, version, dueSince }) => [taskId, { version, dueSince }]))
    expect(versions).toEqual(new Map(delivered.map(({ id }) => [id, { version: 2, dueSince: 7 }])))
  })

  test(`${name}: of two updates of one task at once, exactly one wins`, async () => {
    await using stack = new AsyncDisposableStack()
    const stores = await open(stack)
    const tasks = await insertMany(stores, 60)
    for (const task of tasks) {
      const rivals = [accept(task), { ...accept(task), upstreamTaskId: 'rival' }]
      const outcomes = await Promise.all(rivals.map((next) => stores.store.update(task, next)))
      expect(outcomes.toSorted()).toEqual(['conflict', 'updated'])
      expect(await stores.store.read(task.id)).toEqual(rivals[outcomes.indexOf('updated')])
    }
  })

  test(`${name}: a delivery that is added while its task settles becomes due`, async () => {
    await using stack = new AsyncDisposableStack()
    const stores = await open(stack)
    const tasks = await insertMany(stores, 300)
    await inGroups(tasks, (task, n) => {
      const add = () => stores.outbox.add(task.id, HOOK, 8)
      const update = () => stores.store.update(task, settle(task))
      return Promise.all(n % 2 === 0 ? [add(), update()] : [update(), add()])
    })
    const due = await stores.outbox.claimDue(9, 1_000, 500, { hosts: [], owners: [] })
    expect(new Set(due.map(({ taskId }) => taskId))).toEqual(new Set(tasks.map(({ id }) => id)))
    expect(new Set(due.map(({ version }) => version))).toEqual(new Set([2]))
  })
}
