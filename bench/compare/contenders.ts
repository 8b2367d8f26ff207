import type { Contender } from './contender.ts'

/** No limit stands between the load and what is measured. */
const OWN_ENV = {
  OWNER_RATE_LIMIT: '0',
  UPSTREAM_RATE_LIMIT: '0',
  RESULT_INSPECT_MS: '0',
  RESULT_STORE: 'off',
  OWNER_SOCKET_LIMIT: '0',
  SOCKET_OPERATION_LIMIT: '0',
  TASK_DEADLINE_MS: '7200000',
  POLL_INTERVAL_MS: '3600000',
}

export const OWN: Contender = { name: 'upscale gateway', program: '../dist-bench/own.js', env: OWN_ENV }

/** Without the hooks of the bench. */
export const AS_SHIPPED: Contender = { ...OWN, program: '../dist/main.js' }

/** Ours on PostgreSQL. `commits`: whether this replica or another one commits the new states of `publish`. */
export const onPostgres = (url: string, commits: 'here' | 'elsewhere' = 'here'): Contender => ({
  ...OWN,
  env: { ...OWN_ENV, DATABASE_URL: url, BENCH_COMMITS: commits },
})

/** A limit: the least that a callback costs on PostgreSQL. */
export const barePostgres = (url: string): Contender => ({
  name: 'http + pg',
  program: 'peers/limit-http-pg.mjs',
  env: { DATABASE_URL: url },
})

/** By the letters of bench/README.md; http and ws are limits, not peers. */
export const PEERS = {
  a: { name: 'a: by the book', program: 'peers/dist/by-the-book.js' },
  b: { name: 'b: Mercurius', program: 'peers/mercurius.mjs' },
  c: { name: 'c: Yoga', program: 'peers/yoga.mjs' },
  d: {
    name: 'd: Bun',
    program: 'peers/bun.mjs',
    runtime: {
      executable: 'peers/node_modules/.bin/bun',
      options: (agent) => ['--expose-gc', '--preload', agent],
    },
  },
  ws: { name: 'bare ws', program: 'peers/limit-bare-ws.mjs' },
  http: { name: 'http + commit', program: 'peers/limit-http-commit.mjs' },
} satisfies Record<string, Contender>
