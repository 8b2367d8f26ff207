const CLUSTER = 'it is part of a Redis Cluster, which is not supported: REDIS_URL has to name a single server'

/** By the first word of Redis's reply, or the code of a network error. */
const REMEDIES: Readonly<Record<string, string>> = {
  NOAUTH: 'it requires a password: put user name and password in REDIS_URL',
  WRONGPASS: 'check user name and password in REDIS_URL',
  NOPERM:
    'grant the user what it needs: ACL SETUSER … ~upscale:* &upscale:* +@read +@write +@pubsub +@scripting +@transaction +@connection +info',
  READONLY: 'it is a read-only replica: REDIS_URL has to name the primary',
  MASTERDOWN: 'it is a replica without a primary: REDIS_URL has to name the primary',
  MOVED: CLUSTER,
  ASK: CLUSTER,
  CROSSSLOT: CLUSTER,
  CLUSTERDOWN: CLUSTER,
  MISCONF: 'it cannot save its data to disk: free space there, or switch saving off',
  OOM: 'it is full: raise maxmemory, or set an eviction policy',
  DENIED: 'it is in protected mode: give it a password, or bind it to a private address',
  ECONNREFUSED: 'check host and port in REDIS_URL, and that the server runs',
  ENOTFOUND: 'check the host name in REDIS_URL',
  ETIMEDOUT:
    'check host and port in REDIS_URL, firewalls in between, and whether the server speaks TLS (rediss://)',
  ECONNRESET: 'check the port in REDIS_URL, and whether the server requires TLS (rediss://)',
}

/**
 * Redis's message, with the remedy if it is known, in one line. (The messages of an AggregateError are in its
 * `errors`.)
 */
export function explainRedisError(error: Error): string {
  const parts: unknown[] = error instanceof AggregateError ? error.errors : [error]
  const message = parts.map((part) => (part instanceof Error ? part.message : String(part))).join(', ')
  const code = 'code' in error ? String(error.code) : (/^-?([A-Z]+)\b/.exec(message)?.[1] ?? '')
  const remedy = REMEDIES[code]
  return remedy === undefined ? message : `${message}; ${remedy}`
}
