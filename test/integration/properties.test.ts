import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { createLocalHints } from '../../src/replicas/local-hints.ts'
import { openSqlite } from '../../src/store/sqlite/open.ts'
import type { TaskHints } from '../../src/tasks/ports.ts'
import type { Report } from '../../src/tasks/report.ts'
import { applyReport, createReporter } from '../../src/tasks/transitions.ts'
import { isSettled, type UpscaleTask } from '../../src/tasks/task.ts'
import { watchTask } from '../../src/tasks/watch/watch.ts'
import { ManualClock } from '../support/clock.ts'
import { newTask, NO_PLACES } from '../support/new-task.ts'
import { POLICY } from '../support/policy.ts'
import { openTempDir } from '../support/temp-dir.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

const at = fc.integer({ min: 1_000, max: 4_000_000 })
const source = fc.constantFrom('SUBMIT' as const, 'CALLBACK' as const, 'POLL' as const)
const upstreamTaskId = fc.constantFrom('u1', 'u2')
const images = fc
  .constantFrom('a', 'b')
  .map((name) => [
    { url: `https://example.com/${name}`, expiresAt: 9_000_000, facts: null, copyState: 'PENDING' as const },
  ])
const FACTS = {
  width: 1,
  height: 1,
  byteSize: 1,
  contentType: 'image/png',
  sha256: 'a',
  thumbhash: 'a',
  provenance: null,
}
const failure = fc
  .constantFrom(
    'GENERATION_FAILED' as const,
    'UPSTREAM_RATE_LIMITED' as const,
    'INSUFFICIENT_CREDITS' as const,
  )
  .map((code) => ({ code, upstreamCode: 1, retryAfterMs: null, correlationId: 'c' }))

const note = fc.constant('note')

/** News of any kind, from anyone, in any order. */
const report: fc.Arbitrary<Report> = fc.oneof(
  fc.record({ kind: fc.constant('accepted' as const), at, source, upstreamTaskId, pollAt: at }),
  fc.record({ kind: fc.constant('unanswered' as const), at, source, note }),
  fc.record({ kind: fc.constant('refused' as const), at, source, failure, note }),
  fc.record({
    kind: fc.constant('succeeded' as const),
    at,
    source,
    upstreamTaskId,
    images,
    inspectBy: fc.constantFrom(null, 5_000_000),
  }),
  fc.record({
    kind: fc.constant('inspected' as const),
    at,
    source: fc.constant('INSPECTION' as const),
    images: fc
      .tuple(fc.constantFrom(null, FACTS), fc.constantFrom('KEPT' as const, 'LOST' as const))
      .map(([facts, copyState]) => [{ position: 0, facts, copyState }]),
    retryAt: fc.constantFrom(null, 6_000_000),
    note,
  }),
  fc.record({
    kind: fc.constant('failed' as const),
    at,
    source,
    upstreamTaskId,
    failure,
    failedBy: fc.constantFrom('UPSTREAM' as const, 'SILENCE' as const),
    note,
  }),
  fc.record({
    kind: fc.constant('overdue' as const),
    at,
    source: fc.constant('DEADLINE' as const),
    deadlineAt: fc.constantFrom(1_801_000, 1_800_999),
    correlationId: fc.constant('c'),
  }),
)

const shown = ({ status, images, failure }: UpscaleTask) =>
  JSON.stringify({ status, images: status === 'SUCCEEDED' && images, failure })

describe('whatever news comes, in whatever order', () => {
  test('the version grows by one exactly when what is shown changes; settled is settled but for one late success', () => {
    fc.assert(
      fc.property(fc.array(report, { maxLength: 12 }), (reports) => {
        let task = newTask({ answerBy: 5_000 })
        const settled: string[] = []
        for (const news of reports) {
          const next = applyReport(Object.freeze(task), news)
          if (next === undefined) continue
          expect(next.version - task.version).toBe(shown(next) === shown(task) ? 0 : 1)
          expect(next.history.slice(0, task.history.length)).toEqual(task.history)
          if (next.version > task.version) expect(next.history.at(-1)?.status).toBe(next.status)
          if (isSettled(next) && next.status !== task.status) settled.push(next.status)
          expect(next.revision).toBe(task.revision + 1)
          // A result, once found, stays, and so does a copy, once kept.
          if (task.images !== null) expect(next.images?.[0]?.url).toBe(task.images[0]?.url)
          if (task.images?.[0]?.copyState === 'KEPT') expect(next.images).toEqual(task.images)
          expect(isSettled(task) && !isSettled(next)).toBe(false)
          // Only the answer to the submit itself may correct the upstream's id, and nothing said of another
          // counts.
          const corrected = news.kind === 'accepted' && news.source === 'SUBMIT'
          if (!corrected) expect(next.upstreamTaskId).toBe(task.upstreamTaskId ?? next.upstreamTaskId)
          if ('upstreamTaskId' in news) expect(next.upstreamTaskId).toBe(news.upstreamTaskId)
          if (next.status === 'SUCCEEDED') expect(next.images).not.toBeNull()
          expect(next.failure === null).toBe(next.status !== 'FAILED')
          task = next
        }
        expect([[], ['SUCCEEDED'], ['FAILED'], ['FAILED', 'SUCCEEDED']]).toContainEqual(settled)
      }),
      { numRuns: 2_000 },
    )
  })

  test('the same news twice in a row changes nothing the second time', () => {
    fc.assert(
      fc.property(fc.array(report, { maxLength: 8 }), report, (reports, last) => {
        let task = newTask({ answerBy: 5_000 })
        for (const news of [...reports, last]) task = applyReport(task, news) ?? task
        expect(applyReport(task, last)).toBeUndefined()
      }),
      { numRuns: 2_000 },
    )
  })
})

/** What befalls one hint on its way; a bare one loses the state that came with it. */
type Fate = 'delivered' | 'bare' | 'dropped' | 'doubled' | 'delayed'

/** Hints that arrive as fate will have it; the delayed ones come out of order, when released. */
function unreliable(fates: Fate[]): TaskHints & { release(): void } {
  const local = createLocalHints()
  const delayed: (() => void)[] = []
  return {
    listen: (taskId, wake) => local.listen(taskId, wake),
    announce(taskId, state) {
      const fate = fates.shift() ?? 'dropped'
      const arrive = () => local.announce(taskId, state)
      if (fate === 'delayed') delayed.unshift(arrive)
      if (fate === 'bare') local.announce(taskId)
      if (fate === 'delivered' || fate === 'doubled') arrive()
      if (fate === 'doubled') arrive()
    },
    release() {
      for (const arrive of delayed.splice(0)) arrive()
    },
  }
}

async function turn() {
  for (let n = 0; n < 4; n += 1) await new Promise(setImmediate)
}

describe('whatever becomes of hints and connections', () => {
  const step = fc.oneof(
    report.map((news) => ({ do: 'report' as const, news })),
    fc.constant({ do: 'release' as const }),
    fc.constant({ do: 'disconnect' as const }),
    fc.integer({ min: 1, max: 20_000 }).map((ms) => ({ do: 'advance' as const, ms })),
  )
  const fates = fc.array(fc.constantFrom<Fate[]>('delivered', 'bare', 'dropped', 'doubled', 'delayed'), {
    maxLength: 30,
  })

  test('a watcher that resumes by afterVersion never sees the version fall, and ends on the settled one', async () => {
    await using dir = await openTempDir()
    let file = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 15 }), fates, async (steps, fate) => {
        file += 1
        const hints = unreliable([...fate])
        const clock = new ManualClock()
        await using stores = await openSqlite(`${dir.path}/${file}.db`, hints)
        const { store } = stores
        const deliveries = { add: () => Promise.resolve(true), wake: () => undefined }
        const wakeResults = () => undefined
        const tell = createReporter({ store, deliveries, wakeResults, log: silent })
        const { id } = newTask()
        await store.insert(newTask({ id, deadlineAt: 0 }), {})

        const versions: number[] = []
        const seen = { settled: false, ended: false }
        const connect = () => {
          const afterVersion = versions.at(-1) ?? null
          const deps = { store, hints, clock, log: silent, policy: POLICY, places: NO_PLACES }
          const watch = watchTask(deps, { owner: 'owner', id, afterVersion, until: null })
          const ended = (async () => {
            for await (const event of watch) {
              if (typeof event === 'string') throw new Error(event)
              versions.push(event.version)
              if (isSettled(event)) seen.settled = true
            }
          })()
          return { watch, ended }
        }
        let connection = connect()
        for (const each of steps) {
          if (each.do === 'report') await tell(id, each.news)
          if (each.do === 'release') hints.release()
          if (each.do === 'advance') clock.advance(each.ms)
          if (each.do === 'disconnect' && !seen.settled) {
            await connection.watch.return?.()
            connection = connect()
          }
          await turn()
        }
        await tell(id, { kind: 'overdue', at: 1, source: 'DEADLINE', deadlineAt: 0 })
        const inspection = { images: [], retryAt: null, note: 'not inspected in time' }
        await tell(id, { kind: 'inspected', at: 1, source: 'INSPECTION', ...inspection })
        clock.advance(POLICY.reassertMs)
        void connection.ended.then(() => (seen.ended = true))
        for (let n = 0; n < 50 && !seen.ended; n += 1) {
          await turn()
          clock.advance(POLICY.reassertMs)
        }
        expect(seen.ended).toBe(true)
        expect(versions).toEqual([...versions].sort((a, b) => a - b))
        const task = await store.read(id)
        const known = versions.at(-1) ?? 0
        // The stream ends with the first settled state; a late success, and a copy that is kept later, come
        // after it.
        const settledAs =
          task?.history.filter(({ status }) => status === 'FAILED' || status === 'SUCCEEDED') ?? []
        expect(known).toBeGreaterThan((task?.version ?? 0) - Math.max(1, settledAs.length))
        expect(known).toBeLessThanOrEqual(task?.version ?? 0)
      }),
      { numRuns: 60 },
    )
  })
})
