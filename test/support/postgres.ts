import { randomUUID } from 'node:crypto'
import pg from 'pg'

/** Where a PostgreSQL server for tests answers; undefined: tests that need one are left out, and say so. */
export const TEST_DATABASE_URL = process.env.TEST_DATABASE_URL

/** A schema of its own in the test server, gone afterwards. */
export async function openTestSchema(): Promise<
  AsyncDisposable & { readonly name: string; readonly url: string }
> {
  const server = TEST_DATABASE_URL ?? ''
  const schema = `test_${randomUUID().replaceAll('-', '')}`
  const run = async (statement: string) => {
    const client = new pg.Client({ connectionString: server })
    await client.connect()
    await client.query(statement)
    await client.end()
  }
  await run(`CREATE SCHEMA ${schema}`)
  const url = new URL(server)
  // Commits do not wait for the disk, because no test stops this server.
  url.searchParams.set('options', `-csearch_path=${schema} -csynchronous_commit=off`)
  return { name: schema, url: url.href, [Symbol.asyncDispose]: () => run(`DROP SCHEMA ${schema} CASCADE`) }
}
