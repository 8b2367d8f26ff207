import { Socket } from 'node:net'
import pg from 'pg'
import type { Log } from '../tasks/ports.ts'

/** With both timeouts every request is answered within 3 s, even if the database is down. */
export const CONNECT_TIMEOUT_MS = 1_000
export const STATEMENT_TIMEOUT_MS = 1_500
/** The server cannot enforce its own timeout when it is down. */
const QUERY_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 250
/** Instants, which JavaScript's numbers hold exactly. */
const INT8 = pg.types.builtins.INT8

/**
 * A connection that is destroyed when a query times out. `pg` alone would keep waiting for the answer, and so
 * would every later query, such as the ROLLBACK.
 */
export class TimeoutClient extends pg.Client {
  constructor(config: pg.ClientConfig = {}) {
    const socket = new Socket()
    super({ ...config, stream: () => socket })
    // The pool listens to idle clients only, and an unhandled 'error' event ends the process.
    this.on('error', () => undefined)
    const query: (...args: unknown[]) => unknown = this.query.bind(this)
    const destroyOnTimeout = (error: unknown) => {
      if (error instanceof Error && error.message === 'Query read timeout') socket.destroy()
    }
    Object.assign(this, {
      query(first: unknown, ...rest: unknown[]) {
        const answer = query(withoutName(first), ...rest)
        if (answer instanceof Promise) answer.catch(destroyOnTimeout)
        return answer
      },
    })
  }
}

/**
 * Removes the statement names of rate-limiter-flexible: a transaction pooler may switch to a connection
 * without them.
 */
function withoutName(query: unknown): unknown {
  if (typeof query !== 'object' || query === null || !('name' in query)) return query
  return { ...query, name: undefined }
}

/**
 * A pool that survives the loss of its server. `limitsStatements`: the server also enforces a statement
 * timeout.
 */
export function openPool(url: string, log: Log, max: number, limitsStatements = true): pg.Pool {
  const pool = new pg.Pool({
    Client: TimeoutClient,
    connectionString: url,
    max,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    ...(limitsStatements && { statement_timeout: STATEMENT_TIMEOUT_MS }),
    query_timeout: QUERY_TIMEOUT_MS,
    keepAlive: true,
    application_name: 'upscale-gateway',
    types: {
      getTypeParser: (id, format) => (id === INT8 ? Number : pg.types.getTypeParser(id, format)) as unknown,
    },
  })
  // Without a listener a connection that breaks while idle would end the process.
  pool.on('error', (error) => log.warn({ err: error }, 'a database connection was lost'))
  return pool
}
