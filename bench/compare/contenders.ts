import type { Contender } from './contender.ts'

/** No limit stands between the load and what is measured. */
const OWN_ENV = {
  OWNER_RATE_LIMIT: '0',
  UPSTREAM_RATE_LIMIT: '0',
  OWNER_SOCKET_LIMIT: '0',
  SOCKET_OPERATION_LIMIT: '0',
  TASK_DEADLINE_MS: '7200000',
  POLL_INTERVAL_MS: '3600000',
  LOG_LEVEL: 'info',
}

export const CONTENDERS: readonly Contender[] = [
  { name: 'own', program: 'own.mjs', env: OWN_ENV },
  { name: 'a', program: 'peers/dist/by-the-book.js' },
  { name: 'b', program: 'peers/mercurius.mjs' },
  { name: 'c', program: 'peers/yoga.mjs' },
  { name: 'ws', program: 'peers/limit-bare-ws.mjs' },
  { name: 'http', program: 'peers/limit-http-commit.mjs' },
]
