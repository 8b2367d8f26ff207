import { expect, test } from '@jest/globals'
import { Gauge, Registry } from 'prom-client'
import { createCollection, type Reading } from '../../src/metrics/collection.ts'
import { ManualClock } from '../support/clock.ts'

/** A collection of two gauges, whose reads a test answers. */
function startCollection() {
  const registry = new Registry()
  const clock = new ManualClock()
  const warnings: unknown[] = []
  const log = {
    info: () => undefined,
    warn: ({ err }: { err?: unknown }) => void warnings.push(err),
    error: () => undefined,
  }
  const reads: { readonly metric: string; readonly answer: PromiseWithResolvers<number> }[] = []
  const toReading = (metric: string): Reading => {
    const gauge = new Gauge({ name: metric, help: metric, registers: [registry] })
    return {
      metric,
      async read() {
        const answer = Promise.withResolvers<number>()
        reads.push({ metric, answer })
        gauge.set(await answer.promise)
      },
      clear: () => gauge.remove(),
    }
  }
  const collect = createCollection([toReading('first'), toReading('second')], { registry, clock, log })
  const lines = async () =>
    (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  /** Answers the latest read, and lets the collection go on. */
  const answer = async (value: number | Error) => {
    const { answer: latest } = reads.at(-1) ?? {}
    if (value instanceof Error) latest?.reject(value)
    else latest?.resolve(value)
    await new Promise(setImmediate)
  }
  return { collect, reads, lines, answer, clock, warnings }
}

const failures = (first: number, second: number) => [
  `upscale_collect_failures_total{metric="first"} ${first}`,
  `upscale_collect_failures_total{metric="second"} ${second}`,
]

test('reads run one after the other, and calls that overlap share them', async () => {
  const { collect, reads, answer, lines } = startCollection()
  const both = Promise.all([collect(), collect()])
  expect(reads.map(({ metric }) => metric)).toEqual(['first'])
  await answer(1)
  expect(reads.map(({ metric }) => metric)).toEqual(['first', 'second'])
  await answer(2)
  await both
  expect(await lines()).toEqual(['first 1', 'second 2', ...failures(0, 0)])
  void collect()
  expect(reads).toHaveLength(3)
})

test('a read that fails is counted and logged, and its metric is left out until it succeeds', async () => {
  const { collect, answer, lines, warnings } = startCollection()
  const error = new Error('It fails')
  for (const [value, expected] of [
    [error, ['second 2', ...failures(1, 0)]],
    [3, ['first 3', 'second 2', ...failures(1, 0)]],
  ] as const) {
    const collected = collect()
    await answer(value)
    await answer(2)
    await collected
    expect((await lines()).sort()).toEqual([...expected].sort())
  }
  expect(warnings).toEqual([error])
})

test('after two seconds the other reads are left out, and the next collection waits for ten times as long', async () => {
  const { collect, reads, answer, clock, lines } = startCollection()
  const collected = collect()
  clock.lag(2_001)
  await answer(1)
  await collected
  expect(await lines()).toEqual(['first 1', ...failures(0, 1)])
  clock.lag(20_009)
  await collect()
  expect(reads).toHaveLength(1)
  clock.lag(1)
  void collect()
  expect(reads).toHaveLength(2)
})
