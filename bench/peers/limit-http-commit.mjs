// A limit, not a gateway: the least a durable callback can cost in one Node process. Bare node:http takes the
// callbacks and node:sqlite commits each to disk (WAL, synchronous=FULL) before it is answered; there is no
// GraphQL, and no subscriber is notified.
//
// Follows: Node «HTTP» and «SQLite» (DatabaseSync, prepared statements); SQLite «PRAGMA synchronous».

import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { DatabaseSync } from 'node:sqlite'

const { PORT, DATA_FILE } = process.env

const db = new DatabaseSync(DATA_FILE)
db.exec(`
  pragma journal_mode = wal;
  pragma synchronous = full;
  create table if not exists task (
    id text primary key,
    token text not null,
    status text not null,
    version integer not null,
    images text,
    createdAt text not null
  ) strict;
`)
const insert = db.prepare(`insert into task values (?, ?, 'PROCESSING', 2, null, ?)`)
const settle = db.prepare(
  `update task set status = 'SUCCEEDED', version = version + 1, images = ? where id = ? and token = ?`,
)

function callback(req, res) {
  const chunks = []
  req.on('data', (chunk) => chunks.push(chunk))
  req.on('end', () => {
    const [, , , id, token] = req.url.split('/')
    const { data } = JSON.parse(Buffer.concat(chunks).toString())
    const { changes } = settle.run(JSON.stringify(data.resultUrls.map((url) => ({ url }))), id, token)
    const code = changes === 1 ? 200 : 404
    res.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify({ code }))
  })
}

const server = createServer((req, res) => {
  if (req.method === 'POST' && req.url.startsWith('/callbacks/upscale/')) callback(req, res)
  else res.writeHead(req.url === '/readyz' ? 200 : 404).end()
})

globalThis.bench = {
  tasks(count) {
    db.exec('begin')
    const made = Array.from({ length: count }, () => {
      const [id, token] = [randomUUID(), randomUUID()]
      insert.run(id, token, new Date().toISOString())
      return { id, callBackUrl: `/callbacks/upscale/${id}/${token}` }
    })
    db.exec('commit')
    return made
  },
}

process.on('SIGTERM', () => process.exit(0))
server.listen(Number(PORT), '127.0.0.1')
