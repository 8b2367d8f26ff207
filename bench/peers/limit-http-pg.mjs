// A limit, not a gateway: the least a durable callback can cost in one Node process on PostgreSQL. Bare
// node:http takes the callbacks, and each is one autocommit update over a pool of ten connections (pg) before
// it is answered; there is no GraphQL, and no subscriber is notified. The table is in the schema of
// DATABASE_URL.
//
// Follows: Node «HTTP»; node-postgres «Pooling», «Queries».

import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import pg from 'pg'

const { PORT, DATABASE_URL } = process.env

const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 10 })
await pool.query(`
  create table if not exists "limitTask" (
    id text primary key,
    token text not null,
    status text not null,
    version integer not null,
    images text,
    "createdAt" text not null
  )
`)
const SETTLE = `update "limitTask" set status = 'SUCCEEDED', version = version + 1, images = $1 where id = $2 and token = $3`

async function settle(url, body) {
  const [, , , id, token] = url.split('/')
  const { data } = JSON.parse(body)
  const images = JSON.stringify(data.resultUrls.map((each) => ({ url: each })))
  const { rowCount } = await pool.query(SETTLE, [images, id, token])
  return rowCount === 1 ? 200 : 404
}

function callback(req, res) {
  const chunks = []
  req.on('data', (chunk) => chunks.push(chunk))
  req.on('end', async () => {
    const code = await settle(req.url, Buffer.concat(chunks).toString())
    res.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify({ code }))
  })
}

const server = createServer((req, res) => {
  if (req.method === 'POST' && req.url.startsWith('/callbacks/upscale/')) callback(req, res)
  else res.writeHead(req.url === '/readyz' ? 200 : 404).end()
})

globalThis.bench = {
  async tasks(count) {
    const made = Array.from({ length: count }, () => ({ id: randomUUID(), token: randomUUID() }))
    await pool.query(
      `insert into "limitTask" select id, token, 'PROCESSING', 2, null, now() from unnest($1::text[], $2::text[]) as made (id, token)`,
      [made.map(({ id }) => id), made.map(({ token }) => token)],
    )
    return made.map(({ id, token }) => ({ id, callBackUrl: `/callbacks/upscale/${id}/${token}` }))
  },
}

process.on('SIGTERM', () => process.exit(0))
server.listen(Number(PORT), '127.0.0.1')
