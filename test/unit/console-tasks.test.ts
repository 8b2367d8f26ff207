import { readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import { buildSchema, parse, validate } from 'graphql'
import { toAdvice } from '../../console/src/tasks/advice.ts'
import { toDeliveryText, toPollMs } from '../../console/src/tasks/deliveries.ts'
import { toAge, toAmount, toRelative } from '../../console/src/tasks/formats.ts'
import * as taskDocuments from '../../console/src/tasks/task-documents.ts'
import type { Delivery, ListedTask, TaskStatus } from '../../console/src/tasks/task-documents.ts'
import {
  addPage,
  addState,
  countNew,
  hasLeft,
  isUnsettled,
  removeTask,
  settle,
  toEmptyList,
  toRows,
} from '../../console/src/tasks/task-list.ts'
import { toTimeline } from '../../console/src/tasks/timeline.ts'
import * as serviceDocuments from '../../console/src/service/service-documents.ts'
import { CATALOGUE } from '../../src/tasks/failure.ts'

const toTask = (id: string, second: number, change: Partial<ListedTask> = {}): ListedTask => ({
  id,
  version: 1,
  status: 'PROCESSING',
  source: { id: `source-${id}` },
  imageIndex: 0,
  engine: 'kie-midjourney',
  createdAt: new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString(),
  settledAt: null,
  queue: null,
  images: null,
  problem: null,
  ...change,
})

const toPage = (tasks: readonly ListedTask[], hasNextPage = false) => ({
  edges: tasks.map((node) => ({ node })),
  pageInfo: { hasNextPage, endCursor: tasks.at(-1)?.id ?? null },
})

const toList = (tasks: readonly ListedTask[], hasNextPage = false, status: TaskStatus | null = null) =>
  addPage(toEmptyList(status), toPage(tasks, hasNextPage))

const B = toTask('b', 2)
const A = toTask('a', 1)

describe('The live list', () => {
  test('holds a new task back until it is settled, and then shows it first', () => {
    const held = addState(toList([B, A]), toTask('c', 3))
    expect([held.shown, countNew(held), isUnsettled(held)]).toEqual([['b', 'a'], 1, true])
    const settled = settle(held)
    expect([settled.shown, countNew(settled), isUnsettled(settled)]).toEqual([['c', 'b', 'a'], 0, false])
  })

  test('changes a row in its place, and ignores an older state', () => {
    const done = toTask('a', 1, { version: 3, status: 'SUCCEEDED' })
    const list = addState(addState(toList([B, A]), done), toTask('a', 1, { version: 2 }))
    expect(toRows(list, '')).toEqual([B, done])
  })

  test('takes a new position in the queue, which has no version of its own', () => {
    const moved = toTask('a', 1, { queue: { position: 2 } })
    expect(toRows(addState(toList([A]), moved), '')).toEqual([moved])
  })

  test('leaves a task that is older than the loaded pages to the next page', () => {
    const list = addState(toList([B], true), A)
    expect([countNew(list), settle(list).shown]).toEqual([0, ['b']])
    expect(addPage(list, toPage([A])).shown).toEqual(['b', 'a'])
  })

  test('has each task once when a page repeats some', () => {
    expect(addPage(toList([B, A], true), toPage([A, toTask('0', 0)])).shown).toEqual(['b', 'a', '0'])
  })

  test('shows states that came before its first page', () => {
    const list = addPage(addState(toEmptyList(null), toTask('c', 3)), toPage([B, A]))
    expect(list.shown).toEqual(['c', 'b', 'a'])
  })

  test('keeps a row that no longer matches the filter in its place until it is settled', () => {
    const done = toTask('b', 2, { version: 2, status: 'SUCCEEDED' })
    const list = addState(toList([B, A], false, 'PROCESSING'), done)
    expect(list.shown).toEqual(['b', 'a'])
    expect(hasLeft(list, done)).toBe(true)
    expect(settle(list).shown).toEqual(['a'])
  })

  test('removes a deleted task', () => {
    expect(removeTask(toList([B, A]), 'b')).toMatchObject({ shown: ['a'] })
  })

  test('finds rows by a part of the source id, and by the beginning of their id', () => {
    const list = toList([B, A])
    expect([toRows(list, ' Source-B '), toRows(list, 'a'), toRows(list, 'none')]).toEqual([[B], [A], []])
  })

  test('orders tasks of the same millisecond as the gateway does', () => {
    const list = settle(addState(toList([toTask('y', 1), toTask('x', 1)]), toTask('z', 1)))
    expect(list.shown).toEqual(['z', 'y', 'x'])
  })
})

describe('The timeline', () => {
  test('names each source, and marks the turns of the status', () => {
    const at = (second: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString()
    const steps = toTimeline({
      history: [
        { at: at(0), status: 'SUBMITTED', source: 'SUBMIT', upstreamCode: null, note: 'submitted' },
        { at: at(1), status: 'SUBMITTED', source: 'SUBMIT', upstreamCode: 429, note: 'refused; sent again' },
        { at: at(3), status: 'FAILED', source: 'CALLBACK', upstreamCode: 501, note: null },
      ],
    })
    expect(steps.map(({ isTurn, sinceMs, note }) => ({ isTurn, sinceMs, note }))).toEqual([
      { isTurn: true, sinceMs: null, note: '' },
      { isTurn: false, sinceMs: 1_000, note: 'Refused; sent again.' },
      { isTurn: true, sinceMs: 2_000, note: '' },
    ])
  })
})

describe('Deliveries', () => {
  const now = Date.UTC(2026, 0, 1)
  const toDelivery = (change: Partial<Delivery> = {}): Delivery => ({
    url: 'https://example.com/hook',
    state: 'PENDING',
    attempts: 0,
    lastStatusCode: null,
    nextAttemptAt: null,
    ...change,
  })

  test('are polled only while one is pending and the task has settled', () => {
    expect(toPollMs({ status: 'PROCESSING', callbacks: [toDelivery()] }, now)).toBeNull()
    expect(toPollMs({ status: 'FAILED', callbacks: [toDelivery({ state: 'DELIVERED' })] }, now)).toBeNull()
    expect(toPollMs({ status: 'SUCCEEDED', callbacks: [toDelivery()] }, now)).toBe(2_000)
  })

  test('are polled a second after the next attempt, at least every 15 seconds', () => {
    const due = (ms: number) => toDelivery({ attempts: 1, nextAttemptAt: new Date(now + ms).toISOString() })
    expect(toPollMs({ status: 'SUCCEEDED', callbacks: [due(5_000), due(60_000)] }, now)).toBe(6_000)
    expect(toPollMs({ status: 'SUCCEEDED', callbacks: [due(60_000)] }, now)).toBe(15_000)
    expect(toPollMs({ status: 'SUCCEEDED', callbacks: [due(-60_000)] }, now)).toBe(1_000)
  })

  test('say what they are doing', () => {
    const nextAttemptAt = new Date(now).toISOString()
    const texts = [{}, { nextAttemptAt }, { attempts: 1 }, { state: 'GAVE_UP' as const }]
    expect(texts.map((change) => toDeliveryText(toDelivery(change)))).toEqual([
      'Waits for the result',
      'Sending',
      'Retrying',
      'Given up',
    ])
  })
})

describe('Texts', () => {
  test('of ages have one unit', () => {
    expect([0, 1_500, 61_000, 3_600_000, 200_000_000].map(toAge)).toEqual([
      'now',
      '1 s',
      '1 min',
      '1 h',
      '2 d',
    ])
    const now = Date.UTC(2026, 0, 1)
    const at = (ms: number) => toRelative(new Date(now + ms).toISOString(), now)
    expect([toAmount(1_234.567), toAmount(3)]).toEqual(['1,234.57', '3'])
    expect([at(5_000), at(-120_000), at(10)]).toEqual(['in 5 s', '2 min ago', 'now'])
  })
})

test('There is advice for every code of the catalogue, and for unknown ones', () => {
  const unknown = toAdvice('UNKNOWN')
  const codes = Object.keys(CATALOGUE)
  expect(codes.length).toBeGreaterThan(15)
  expect(codes.filter((code) => toAdvice(code) === unknown || toAdvice(code).text === unknown.text)).toEqual(
    [],
  )
})

test('The documents of the pages are valid in the schema', () => {
  const schema = buildSchema(readFileSync('schema/api.graphql', 'utf8'))
  const documents = [...Object.values(taskDocuments), ...Object.values(serviceDocuments)]
    .filter((value) => typeof value === 'string')
    .filter((text) => /^(query|mutation|subscription) /.test(text))
  expect(documents).toHaveLength(11)
  expect(documents.flatMap((text) => validate(schema, parse(text)))).toEqual([])
})
