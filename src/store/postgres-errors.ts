import pg from 'pg'

/**
 * SQLSTATEs, or their classes, of a server that is away, starting, stopping, full, read-only, out of
 * connections or too slow: PostgreSQL's documentation, appendix A. PgBouncer reports its own faults as 08P01.
 */
const AWAY = [
  '08', // connection exception
  '25006', // read-only: a standby
  '25P03', // idle_in_transaction_session_timeout
  '25P04', // transaction_timeout
  '28', // the server refuses this user, for example after a change of its password
  '3D000', // the database is missing
  '40', // rolled back: serialization, deadlock
  '53', // insufficient resources: disk full, too many connections
  '55P03', // lock_timeout
  '57', // operator intervention: shutdown, statement timeout, starting
  '58', // system error: I/O
]

/** The messages of `pg` and `pg-pool` about a connection; their errors have no code. */
const LOST =
  /^Connection terminated|^timeout e|^Query read timeout$|is not queryable$|^Cannot use a pool after|SSL connection/

/** Whether an error of `pg` means that the database is away. */
export function isPostgresAway(error: unknown): boolean {
  if (error instanceof pg.DatabaseError) return AWAY.some((code) => error.code?.startsWith(code) === true)
  // Errors of the system (Node) name their system call, such as `connect`.
  return Error.isError(error) && ('syscall' in error || LOST.test(error.message))
}

/** Whether PostgreSQL rolled the transaction back to end a deadlock. */
export function isDeadlock(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '40P01'
}
