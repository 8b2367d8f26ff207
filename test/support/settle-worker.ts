/**
 * Commits a settled task that owes a callback, in a process of its own that never delivers: see kill.test.ts.
 */
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import { newTask } from './new-task.ts'

const [file = '', callBackUrl = ''] = process.argv.slice(2)
const { store } = await openSqlite(file, createLocalHints())
const task = newTask({ owner: 'anonymous' })
await store.insert(task, { callBackUrl })
const images = [
  {
    url: 'https://example.com/result.png',
    expiresAt: 4_102_444_800_000,
    facts: null,
    copyState: 'OFF' as const,
  },
]
const settledAt = Date.now()
await store.update(task, {
  ...task,
  version: 2,
  revision: 2,
  status: 'SUCCEEDED',
  images,
  settledAt,
  updatedAt: settledAt,
})
process.stdout.write(`${task.id}\n`)
setInterval(() => undefined, 1_000)
