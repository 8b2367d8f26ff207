import { expect, test } from '@jest/globals'
import { findMisses } from '../../bench/faults/report.ts'
import { runFaults, SHORT } from '../../bench/faults/run.ts'
import { hasPgBouncer } from '../support/pgbouncer.ts'

const testWithPgBouncer = hasPgBouncer ? test : test.skip
if (!hasPgBouncer) process.stderr.write('Left out: the fault run: PgBouncer is not installed\n')

testWithPgBouncer(
  'kills, and outages of PostgreSQL, Redis and the pooler, settle each task, pay none twice, and are typed, retryable errors',
  async () => {
    const run = await runFaults(SHORT)
    expect(findMisses(run)).toEqual([])
    const sources = run.clients.upscales.map(({ source }) => source).sort()
    expect([...run.paid.keys()].filter((source) => !sources.includes(source))).toEqual([])
    const codes = run.clients.errors.all.map(({ kind }) => kind)
    // The faults have reached the clients.
    expect(codes).toContain('SERVICE_UNAVAILABLE')
    expect(codes).toContain('ECONNREFUSED')
  },
  300_000,
)
