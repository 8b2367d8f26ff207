import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openTestSchema, TEST_DATABASE_URL } from '../../test/support/postgres.ts'

/**
 * A new database on SQLite, or on PostgreSQL when TEST_DATABASE_URL is set; deleted when it is disposed of.
 */
export async function openDatabase(): Promise<AsyncDisposable & { readonly url: string }> {
  if (TEST_DATABASE_URL !== undefined) return openTestSchema()
  const folder = await mkdtemp(join(tmpdir(), 'soak-'))
  return {
    url: `file:${folder}/soak.db`,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  }
}
