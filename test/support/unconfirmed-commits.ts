import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { DatabaseSync } from 'node:sqlite'
import { openPostgres } from '../../src/store/postgres.ts'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import { createSqlite } from '../../src/store/sqlite/dialect.ts'
import { SqlCopyUses } from '../../src/store/copies.ts'
import { eraseOwner } from '../../src/store/erase.ts'
import { SqlOutbox } from '../../src/store/outbox.ts'
import { SqlQueue } from '../../src/store/queue.ts'
import { SqlResultJobs } from '../../src/store/result-jobs.ts'
import { SqlTaskStore } from '../../src/store/tasks.ts'
import { readKeptCounts } from '../../src/store/task-counts.ts'
import type { Stores } from '../../src/store/sql.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import type { TestDatabase } from './database.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

type Loss = () => Promise<void>

/**
 * Opens stores whose next commit is made and never confirmed, once `loseNext` was called; `then` runs after
 * the commit.
 */
export function createUnconfirmed() {
  let loss: Loss | undefined
  const takeLoss = () => {
    const taken = loss
    loss = undefined
    return taken
  }
  return {
    loseNext: (then: Loss = () => Promise.resolve()) => void (loss = then),
    open: (database: TestDatabase, hints: TaskHints): Promise<Stores> =>
      database.url.startsWith('file:')
        ? openOnRefusingDisk(database.url.slice('file:'.length), hints, takeLoss)
        : openThroughLossyProxy(database.url, hints, takeLoss),
  }
}

/** SQLite on a disk that refuses to confirm a commit. */
async function openOnRefusingDisk(
  file: string,
  hints: TaskHints,
  takeLoss: () => Loss | undefined,
): Promise<Stores> {
  await (await openSqlite(file, hints))[Symbol.asyncDispose]()
  const sync = async () => {
    const loss = takeLoss()
    if (loss === undefined) return
    await loss()
    throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO', syscall: 'fdatasync' })
  }
  const sql = createSqlite(new DatabaseSync(file), new DatabaseSync(file), { sync, lockTimeoutMs: 5_000 })
  return {
    store: new SqlTaskStore(sql, hints, () => readKeptCounts(sql)),
    queueStore: new SqlQueue(sql),
    outbox: new SqlOutbox(sql),
    resultJobs: new SqlResultJobs(sql),
    copyUses: new SqlCopyUses(sql),
    eraseOwner: (owner) => eraseOwner(sql, owner),
    [Symbol.asyncDispose]: () => sql[Symbol.asyncDispose](),
  }
}

/** PostgreSQL behind a network that loses the answer to a COMMIT. */
async function openThroughLossyProxy(
  url: string,
  hints: TaskHints,
  takeLoss: () => Loss | undefined,
): Promise<Stores> {
  const target = new URL(url)
  const { hostname, port } = target
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname)
    upstream.pipe(client)
    client.on('data', (chunk: Buffer) => {
      // The text of a statement ends with a NUL; the options of a connection may also contain the word.
      const loss = chunk.includes('commit\0') ? takeLoss() : undefined
      if (loss) {
        upstream.unpipe(client)
        upstream.resume().once('data', () => void loss())
      }
      upstream.write(chunk)
    })
    client.on('close', () => upstream.destroy())
    for (const socket of [client, upstream]) socket.on('error', () => undefined)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  target.hostname = '127.0.0.1'
  target.port = String((server.address() as AddressInfo).port)
  const stores = await openPostgres(target.href, hints, { log: silent })
  return {
    ...stores,
    async [Symbol.asyncDispose]() {
      await stores[Symbol.asyncDispose]()
      server.close()
    },
  }
}
