import { sql, type Kysely } from 'kysely'
import pg from 'pg'
import type { Database } from './schema.ts'

const DISK_FULL = '53100'
const NO_PERMISSION = '42501'

/** Detects a full disk of PostgreSQL, and when the disk has space again. */
export function watchSpace(db: Kysely<Database>): {
  /**
   * Returns the promise. If it rejects because the disk is full, `checkSpace` rejects until there is space
   * again.
   */
  watch<T>(work: Promise<T>): Promise<T>
  checkSpace(): Promise<void>
} {
  let refused = false
  return {
    watch(work) {
      work.catch((error: unknown) => {
        if (isCode(error, DISK_FULL)) refused = true
      })
      return work
    },
    async checkSpace() {
      if (!refused) return
      await growFile(db)
      refused = false
    },
  }
}

/** A temporary table is a new file: its first row needs a new page. */
async function growFile(db: Kysely<Database>): Promise<void> {
  try {
    await db.transaction().execute(async (trx) => {
      await sql`create temporary table upscale_space_probe (id integer) on commit drop`.execute(trx)
      await sql`insert into upscale_space_probe values (1)`.execute(trx)
    })
  } catch (error) {
    // This user may not create temporary tables: only the next write shows whether there is space.
    if (!isCode(error, NO_PERMISSION)) throw error
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof pg.DatabaseError && error.code === code
}
