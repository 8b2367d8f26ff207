/** A failed start that the operator can remedy: printed as one line, without a stack. */
export class StartError extends Error {
  override name = 'StartError'
}

/** By the system's error code, PostgreSQL's SQLSTATE or SQLite's result code. */
const REMEDIES: Readonly<Record<string, string>> = {
  EACCES: 'give the user of this process permission to read and write there',
  EPERM: 'give the user of this process permission to read and write there',
  EROFS: 'the file system is read-only: name a path on a writable one',
  ENOTDIR: 'a part of the path is a file: name a path in a folder',
  EEXIST: 'a part of the path is a file: name a path in a folder',
  ENOENT: 'name a path that can be created',
  EISDIR: 'name a file, not a folder',
  ENOSPC: 'the disk is full: free some space',
  EDQUOT: 'the disk quota is used up: free some space',
  ECONNREFUSED: 'check host and port, and that the server runs',
  ECONNRESET: 'check the port, and whether the server requires TLS',
  ENOTFOUND: 'check the host name',
  EAI_AGAIN: 'the name server does not answer: check the host name and the DNS of this machine',
  ETIMEDOUT: 'check host and port, and firewalls in between',
  EHOSTUNREACH: 'check the host, and the route to it',
  ENETUNREACH: 'check the host, and the route to it',
  ERR_INVALID_URL: 'check its port, and percent-encode special characters in its user name and password',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'trust its certificate with NODE_EXTRA_CA_CERTS',
  SELF_SIGNED_CERT_IN_CHAIN: 'trust its certificate authority with NODE_EXTRA_CA_CERTS',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'trust its certificate authority with NODE_EXTRA_CA_CERTS',
  CERT_HAS_EXPIRED: 'renew the certificate of the server',
  ERR_TLS_CERT_ALTNAME_INVALID: 'use a host name that is in the certificate of the server',
  '28P01': 'check user name and password',
  '28000': 'check user name and database, and pg_hba.conf of the server',
  '3D000': 'create the database, or name another one',
  '3F000': 'create the schema, or name another one in search_path',
  '42501':
    'grant the user CREATE on the schema (GRANT CREATE ON SCHEMA … TO …), or run `node dist/main.js migrate` as the owner of its tables',
  '53100': 'the disk of the server is full: free some space',
  '53300': 'raise max_connections of the server, or run fewer replicas',
  '57P03': 'the server is starting or stopping: try again',
  '25006': 'the server accepts no writes: name the primary, not a standby',
  '08P01': 'a connection pooler refuses a parameter: remove it from the URL',
  'SQLITE 8': 'give the user of this process permission to write to the file and to its folder',
  'SQLITE 10': 'the disk reports an error: check it, and the kernel log',
  'SQLITE 11': 'the file is corrupt: restore a backup, or salvage it with `sqlite3 FILE .recover`',
  'SQLITE 13': 'the disk is full: free some space',
  'SQLITE 14': 'check that its folder exists and that the user of this process may write to it',
  'SQLITE 26': 'name another file, or restore a backup',
}

/** Errors without a code. */
const REMEDIES_BY_MESSAGE: readonly (readonly [RegExp, string])[] = [
  [/timeout expired|connection timeout/i, 'check host and port, and firewalls in between'],
  [/does not support SSL/, 'remove sslmode from the URL, or switch on TLS in the server'],
  [/password must be a (non-empty )?string/, 'the server requires a password: add one to the URL'],
  [/^corrupted migrations/, 'a newer version of this service has migrated the database: run that version'],
  [/^A later major version has migrated/, 'run that version, or restore a backup from before its migration'],
  [/Connection terminated unexpectedly/, 'check that the port is that of PostgreSQL'],
  [/holds? a lock|has held a lock/, 'then start again'],
  [/write-ahead log here/, 'keep the file on a local disk'],
]

/**
 * Turns a known error into one line with the subject (a setting and its target), the reason and the remedy.
 * Returns an unknown error unchanged, because its stack is needed.
 */
export function toStartError(subject: string, error: unknown): unknown {
  if (error instanceof StartError) return error
  for (const part of listParts(error)) {
    const remedy = findRemedy(part)
    if (remedy !== undefined)
      return new StartError(`${subject}: ${toOneLine(error)}; ${remedy}`, { cause: error })
  }
  return error
}

/**
 * Runs `open`.
 * @throws StartError with this subject for an error that the operator can remedy; rethrows any other error.
 */
export async function explainErrors<T>(subject: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open()
  } catch (error) {
    throw toStartError(subject, error)
  }
}

/**
 * The messages of the error, its causes and its parts, each once. (The message of an AggregateError is often
 * empty.)
 */
export function toOneLine(error: unknown): string {
  const messages = listParts(error).map((part) => part.message || (part.code ?? part.name))
  const distinct = messages.filter(
    (text, index) => !messages.slice(0, index).some((before) => before.includes(text)),
  )
  return distinct.join(': ').replaceAll(/\s+/g, ' ')
}

interface Part extends Error {
  readonly code?: string
  readonly errcode?: unknown
}

/** The error, its causes, and the errors of an AggregateError. */
function listParts(error: unknown): readonly Part[] {
  if (!(error instanceof Error)) return [new Error(String(error))]
  const gathered = error instanceof AggregateError ? (error.errors as unknown[]).flatMap(listParts) : []
  const own = error instanceof AggregateError && error.message === '' ? [] : [error]
  return [...own, ...gathered, ...(error.cause === undefined ? [] : listParts(error.cause))]
}

function findRemedy({ code, errcode, message }: Part): string | undefined {
  if (typeof errcode === 'number') return REMEDIES[`SQLITE ${errcode & 0xff}`]
  if (code !== undefined && code in REMEDIES) return REMEDIES[code]
  return REMEDIES_BY_MESSAGE.find(([pattern]) => pattern.test(message))?.[1]
}

/** Why a server could not listen, with the setting to change; undefined for any other error. */
export function toListenError(
  error: unknown,
  {
    host,
    port,
    callbackPort,
    metricsPort,
  }: {
    readonly host: string
    readonly port: number
    readonly callbackPort: number | null
    readonly metricsPort: number | null
  },
): StartError | undefined {
  if (!(error instanceof Error)) return undefined
  const failed: Error & { code?: unknown; syscall?: unknown; port?: unknown; hostname?: unknown } = error
  const { code, syscall } = failed
  if (syscall === 'getaddrinfo' && failed.hostname === host)
    return new StartError(`HOST: "${host}" cannot be resolved (${String(code)}): use 0.0.0.0 for all`)
  if (syscall !== 'listen') return undefined
  const others = { CALLBACK_PORT: callbackPort, METRICS_PORT: metricsPort }
  const [setting = 'PORT'] = Object.entries(others)
    .filter(([, other]) => failed.port === other && other !== port)
    .map(([name]) => name)
  const number = String(failed.port)
  if (code === 'EADDRINUSE')
    return new StartError(
      `${setting}: another process listens on port ${number} (EADDRINUSE): stop it (\`lsof -i :${number}\` names it), or set ${setting} to a free one`,
    )
  if (code === 'EACCES')
    return new StartError(
      `${setting}: this user may not listen on port ${number} (EACCES): set ${setting} to 1024 or higher`,
    )
  if (code === 'EADDRNOTAVAIL')
    return new StartError(`HOST: ${host} is no address of this machine (EADDRNOTAVAIL): use 0.0.0.0 for all`)
  return new StartError(`${setting}: ${failed.message}`)
}
