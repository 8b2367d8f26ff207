import { describe, expect, test } from '@jest/globals'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import type { Stores } from '../../src/store/sql.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import { newTask } from '../support/new-task.ts'

const NOW = 10_000_000

/** Back to the schema of the release that has one engine. */
export const PREVIOUS_SCHEMA = [
  'drop table usage',
  'drop index "taskByEngineQueue"',
  'drop index "taskByEngineQueueDue"',
  'alter table task drop column engine',
  'alter table task drop column "requestedEngine"',
  'alter table task drop column "creditsConsumed"',
  'alter table "idempotencyKey" drop column "requestedEngine"',
  'create index "taskByQueue" on task ("queueRank", "createdAt", id, "queueDueAt", "deadlineAt") where "queueRank" is not null',
  'create index "taskByQueueDue" on task ("queueDueAt") where "queueDueAt" is not null',
  `delete from upscale_migration where name = '004-engines'`,
]

interface MigratedDatabase extends AsyncDisposable {
  open(hints: TaskHints): Promise<Stores>
  /** Runs statements as another program. */
  run(statements: readonly string[]): Promise<void>
}

/** What a database of the previous release becomes; `setUp` opens an empty one. */
export function describeEngineMigration(name: string, setUp: () => Promise<MigratedDatabase>): void {
  describe(`${name} of the release with one engine`, () => {
    const queue = { limit: null, weight: 1, full: 'full' }
    const waiting = newTask({ queueDueAt: NOW, deadlineAt: 2 * NOW })
    const running = newTask({ status: 'PROCESSING', upstreamTaskId: 'upstream', dueAt: NOW })
    const settled = newTask({ status: 'SUCCEEDED', images: [], sentAt: 2_000, settledAt: 3_000 })

    async function openPrevious() {
      await using opened = new AsyncDisposableStack()
      const database = opened.use(await setUp())
      await using stores = await database.open(createLocalHints())
      await stores.store.insert(waiting, { queue })
      for (const task of [running, settled]) await stores.store.insert(task, {})
      await stores[Symbol.asyncDispose]()
      await database.run(PREVIOUS_SCHEMA)
      const rest = opened.move()
      return { ...database, [Symbol.asyncDispose]: () => rest.disposeAsync() }
    }

    test('opens, and its tasks go on at kie-midjourney', async () => {
      await using database = await openPrevious()
      await using stores = await database.open(createLocalHints())
      const { store, queueStore } = stores
      const queued = { ...waiting, queueRank: 1, queueAhead: 0 }
      for (const task of [queued, running, settled]) expect(await store.read(task.id)).toEqual(task)
      expect(await queueStore.readPosition(waiting.id)).toBe(1)
      expect(await queueStore.readTimes('kie-midjourney', 10)).toHaveLength(1)
      const claimed = await queueStore.claimQueued('kie-midjourney', NOW, NOW + 1, 10)
      expect(claimed).toEqual([{ ...queued, queueDueAt: NOW + 1 }])
      expect(await store.claimDue(NOW, NOW + 1, 10)).toEqual([{ ...running, dueAt: NOW + 1 }])
      const ended = { ...running, dueAt: NOW + 1, version: 2, revision: 2, creditsConsumed: 3 }
      expect(await store.update({ ...running, dueAt: NOW + 1 }, ended)).toBe('updated')
      expect(await store.readUsage('1970-01-01', null)).toMatchObject([
        { engine: 'kie-midjourney', credits: 3 },
      ])
    })

    test('commits an update and its usage together, or neither', async () => {
      await using database = await openPrevious()
      await using stores = await database.open(createLocalHints())
      await database.run(['alter table usage rename to away'])
      const ended = { ...running, version: 2, revision: 2, creditsConsumed: 3 }
      await expect(stores.store.update(running, ended)).rejects.toThrow()
      expect(await stores.store.read(running.id)).toEqual(running)
      await database.run(['alter table away rename to usage'])
      expect(await stores.store.update(running, ended)).toBe('updated')
    })

    test('is left as it was by a migration that fails, and is migrated by the next start', async () => {
      await using database = await openPrevious()
      await database.run(['create table usage (other text)'])
      await expect(database.open(createLocalHints())).rejects.toThrow('The database could not be migrated')
      await database.run(['drop table usage'])
      await using stores = await database.open(createLocalHints())
      expect(await stores.store.read(settled.id)).toEqual(settled)
    })

    test('opens in eight replicas at once', async () => {
      await using database = await openPrevious()
      await using opened = new AsyncDisposableStack()
      const replicas = await Promise.all(
        Array.from({ length: 8 }, async () => opened.use(await database.open(createLocalHints()))),
      )
      for (const { store } of replicas) expect(await store.read(settled.id)).toEqual(settled)
    })

    test('takes tasks of its own replicas after the migration', async () => {
      await using database = await openPrevious()
      await database.run(['create table previous as select * from task'])
      await using stores = await database.open(createLocalHints())
      const { store, queueStore } = stores
      const columns = Object.keys(NAMED).map((column) => `"${column}"`)
      const values = columns.map((column) => (column === '"id"' ? `'late-' || id` : column))
      await database.run([`insert into task (${columns.join()}) select ${values.join()} from previous`])
      const late = { ...waiting, id: `late-${waiting.id}`, queueRank: 1, queueAhead: 0 }
      expect(await store.read(late.id)).toEqual(late)
      const claimed = await queueStore.claimQueued('kie-midjourney', NOW, NOW + 1, 10)
      expect(claimed.map(({ id }) => id).sort()).toEqual([waiting.id, late.id].sort())
    })
  })
}

const { engine: _, requestedEngine: _requested, creditsConsumed: _credits, ...PREVIOUS_FIELDS } = newTask()
/** The columns that a replica of the previous release writes. */
const NAMED = { ...PREVIOUS_FIELDS, scheduledAt: 0 }
