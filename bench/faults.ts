/**
 * The fault run: `npm run bench:faults`, four minutes; with `short`, one minute. It needs `postgres`,
 * `initdb`, `redis-server` and `pgbouncer` on the PATH, and starts servers of its own. Three replicas of the
 * build run behind PgBouncer in transaction mode, while clients submit with idempotency keys over HTTP and
 * follow over WebSocket and server-sent events. A tenth of the callbacks is lost. The faults of
 * bench/faults/faults.ts are injected one after another. Exits with 1 if
 * - a task has not settled, or a client has no result,
 * - a source task was paid twice,
 * - a client saw an error that is neither typed and retryable nor a failed connection, or an operation hung,
 * - a task has failed, except with UPSTREAM_OUTCOME_UNKNOWN after its submit was cut off by kill -9.
 */
import { findMisses, printTable, printTotals } from './faults/report.ts'
import { FULL, runFaults, SHORT } from './faults/run.ts'

const run = await runFaults(process.argv[2] === 'short' ? SHORT : FULL)
printTable(run)
printTotals(run)
const misses = findMisses(run)
for (const miss of misses) console.log(`MISSED: ${miss}`)
console.log(misses.length === 0 ? 'All bars are met.' : `${misses.length} faults`)
// Idle connections would keep the process.
process.exit(misses.length === 0 ? 0 : 1)
