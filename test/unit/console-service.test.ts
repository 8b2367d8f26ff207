import { expect, test } from '@jest/globals'
import {
  searchErrors,
  toQueueLength,
  toUsageByEngine,
  toUsageDays,
  toUsedShare,
} from '../../console/src/service/service-data.ts'

const NOW = Date.UTC(2026, 0, 3, 12)
const USAGE = [
  { day: '2026-01-03', owner: 'ann', engine: 'legnext', tasks: 2, credits: 40 },
  { day: '2026-01-03', owner: 'ben', engine: 'legnext', tasks: 1, credits: 20 },
  { day: '2026-01-01', owner: 'ann', engine: 'kie-jobs', tasks: 1, credits: 10 },
]

test('Usage has an entry for each day, oldest first, and one for each engine', () => {
  expect(toUsageDays(USAGE, NOW, 3)).toEqual([
    { day: '2026-01-01', tasks: 1, credits: 10 },
    { day: '2026-01-02', tasks: 0, credits: 0 },
    { day: '2026-01-03', tasks: 3, credits: 60 },
  ])
  expect(toUsageByEngine(USAGE)).toEqual([
    { engine: 'legnext', tasks: 3, credits: 60 },
    { engine: 'kie-jobs', tasks: 1, credits: 10 },
  ])
})

test('The queue length counts waiting tasks, and not those that are being sent', () => {
  const edges = [{ node: { queue: { position: 1 } } }, { node: { queue: null } }]
  expect(toQueueLength({ upscaleTasks: { edges, pageInfo: { hasNextPage: false } } })).toBe('1')
  expect(toQueueLength({ upscaleTasks: { edges, pageInfo: { hasNextPage: true } } })).toBe('1+')
  expect(toQueueLength({ upscaleTasks: null })).toBe('0')
})

test('The used share of a rate is between 0 and 1', () => {
  const shares = [20, 15, 0, 25].map((remaining) => toUsedShare({ limit: 20, remaining, resetAt: null }))
  expect(shares).toEqual([0, 0.25, 1, 0])
  expect(toUsedShare({ limit: 0, remaining: 0, resetAt: null })).toBe(1)
})

test('The catalogue is searched by every word, in codes, numbers and descriptions', () => {
  const toInfo = (code: string, upstreamCode: number | null, description: string, retryable: boolean) => ({
    code,
    upstreamCode,
    description,
    retryable,
    retryAfterMs: null,
  })
  const errors = [
    toInfo('INSUFFICIENT_CREDITS', 402, 'The account has too few credits.', false),
    toInfo('UPSTREAM_RATE_LIMITED', 429, 'Try again shortly.', true),
  ]
  const found = (text: string) => searchErrors(errors, text).map(({ upstreamCode }) => upstreamCode)
  expect([found(''), found('402'), found('few ACCOUNT'), found('retryable'), found('402 rate')]).toEqual([
    [402, 429],
    [402],
    [402],
    [429],
    [],
  ])
})
