import { openSqliteTaskStore } from '../../src/store/sqlite.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { describeTaskStore } from './task-store.ts'

describeTaskStore('The SQLite store', async () => {
  const dir = await openTempDir()
  return Object.assign(dir, {
    open: (hints: Parameters<typeof openSqliteTaskStore>[1]) =>
      openSqliteTaskStore(`${dir.path}/folder/tasks.db`, hints),
  })
})
