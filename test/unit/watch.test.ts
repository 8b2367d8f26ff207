import { describe, expect, test } from '@jest/globals'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import {
  decide,
  INITIAL_STATE,
  toNextState,
  type WatchEvent,
  type WatchInput,
  type WatchRules,
} from '../../src/tasks/watch/watch-state.ts'
import { newTask } from '../support/new-task.ts'

const REASSERT_MS = 15_000
const task = (version: number, changes: Partial<UpscaleTask> = {}) =>
  newTask({ id: 'id', version, ...changes })
/** An input at the time of the watch. */
type Input<I = WatchInput> = I extends unknown ? Omit<I, 'elapsed'> : never
const read = (found: UpscaleTask | null): Input => ({ type: 'read', task: found })
const hint = (found?: UpscaleTask): Input => ({ type: 'hint', task: found })

/** A watch whose clock and inputs the test controls. */
function openWatch(changes: Partial<WatchRules> = {}) {
  const rules = { afterVersion: null, until: null, reassertMs: REASSERT_MS, ...changes }
  let state = INITIAL_STATE
  let elapsed = 0
  const watch = {
    receive(...inputs: Input[]) {
      for (const input of inputs) {
        const timed = { ...input, elapsed }
        state = toNextState(state, timed, rules)
      }
      return watch
    },
    advance(ms: number) {
      elapsed += ms
      return watch
    },
    /** What the watch does next: an event as it is sent, or how long it waits. */
    next(): WatchEvent | number | 'read' | 'done' {
      const step = decide(state, { now: elapsed, elapsed }, rules)
      if (step.type === 'wait') return step.ms
      if (step.type === 'done') return 'done'
      state = step.state
      return step.type === 'read' ? 'read' : step.event
    },
  }
  return watch
}

/** One that has sent version 1. */
function openSent(changes: Partial<WatchRules> = {}) {
  const watch = openWatch(changes)
  expect(watch.next()).toBe('read')
  expect(watch.receive(read(task(1))).next()).toMatchObject({ version: 1 })
  return watch
}

describe('the first event', () => {
  test('is sent after a read, never from a hint alone', () => {
    const watch = openWatch().receive(hint(task(2)))
    expect(watch.next()).toBe('read')
    expect(watch.receive(read(task(1))).next()).toMatchObject({ version: 2 })
  })

  test('is omitted if afterVersion is the current version', () => {
    const watch = openWatch({ afterVersion: 1 })
    expect(watch.next()).toBe('read')
    expect(watch.receive(read(task(1))).next()).toBe(REASSERT_MS)
    expect(watch.receive(hint(task(2))).next()).toMatchObject({ version: 2 })
  })

  test.each([
    ['no task is found', openWatch(), null, ['NOT_FOUND', 'done']],
    [
      'the task has settled and is known',
      openWatch({ afterVersion: 1 }),
      task(1, { status: 'FAILED' }),
      ['done'],
    ],
  ])('is the last, or none at all, if %s', (_name, watch, found, expected) => {
    watch.next()
    watch.receive(read(found))
    expect(expected.map(() => watch.next())).toEqual(expected)
  })
})

describe('later events', () => {
  test('are the newest state, of hints in any order', () => {
    const watch = openSent().receive(hint(task(3)), hint(task(2)))
    expect(watch.next()).toMatchObject({ version: 3 })
    expect(watch.receive(hint(task(3)), hint(task(1))).next()).toBe(REASSERT_MS)
  })

  test('are read first after a hint without a state', () => {
    const watch = openSent().receive(hint(task(2)), hint())
    expect(watch.next()).toBe('read')
    expect(watch.receive(read(task(3))).next()).toMatchObject({ version: 3 })
  })

  test('are not sent if a read finds nothing new', () => {
    const watch = openSent().receive(hint())
    watch.next()
    expect(watch.receive(read(task(1))).next()).toBe(REASSERT_MS)
  })

  test('end with the settled state', () => {
    const watch = openSent().receive(hint(task(2, { status: 'SUCCEEDED' })))
    expect([watch.next(), watch.next()]).toMatchObject([{ version: 2 }, 'done'])
  })

  test('end without an event if the task is deleted', () => {
    const watch = openSent().receive(hint())
    watch.next()
    expect(watch.receive(read(null)).next()).toBe('done')
  })
})

describe('the same state', () => {
  test('is read and sent again after the interval without an event', () => {
    const watch = openSent().advance(REASSERT_MS - 1)
    expect(watch.next()).toBe(1)
    expect(watch.advance(1).next()).toBe('read')
    expect(watch.receive(read(task(1))).next()).toMatchObject({ version: 1 })
    expect(watch.next()).toBe(REASSERT_MS)
  })

  test('is sent again on request', () => {
    const watch = openSent().receive({ type: 'repeat' })
    expect(watch.next()).toBe('read')
    expect(watch.receive(read(task(1))).next()).toMatchObject({ version: 1 })
  })

  test.each([
    ['fails', { type: 'readFailed' } as const],
    ['is outdated', read(task(0))],
  ])('is sent a second later if the read %s', (_name, failed) => {
    const watch = openSent().advance(REASSERT_MS)
    expect(watch.next()).toBe('read')
    expect(watch.receive(failed).next()).toBe(1_000)
    expect(
      watch
        .receive(hint(task(1)))
        .advance(1_000)
        .next(),
    ).toBe('read')
    expect(watch.receive(read(task(1))).next()).toMatchObject({ version: 1 })
  })
})

describe('an end', () => {
  test('comes before any state: GOING_AWAY on request', () => {
    const watch = openSent().receive(hint(task(2)), { type: 'end' })
    expect([watch.next(), watch.next()]).toEqual(['GOING_AWAY', 'done'])
  })

  test('comes before any state: EXPIRED at the instant', () => {
    const watch = openSent({ until: 1_000 })
    expect(watch.next()).toBe(1_000)
    watch.advance(1_000).receive(hint(task(2)))
    expect([watch.next(), watch.next()]).toEqual(['EXPIRED', 'done'])
  })

  test('is final: a read that finishes later changes nothing', () => {
    const watch = openSent().receive({ type: 'done' }, read(task(2)), hint(task(3)))
    expect(watch.next()).toBe('done')
  })
})
