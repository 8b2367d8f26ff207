/** Primary result codes of SQLite: BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN. */
const AWAY = [5, 6, 8, 10, 13, 14]

/**
 * Whether an error of node:sqlite, or of the file system, means that the file cannot be read or written now.
 */
export function isSqliteAway(error: unknown): boolean {
  if (!Error.isError(error)) return false
  // The low byte of an extended result code is the primary one. Errors of the system (Node) name their system
  // call.
  if ('errcode' in error) return AWAY.includes(Number(error.errcode) & 0xff)
  return 'syscall' in error
}
