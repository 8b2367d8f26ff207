import { describe, expect, test } from '@jest/globals'
import { LIMIT, simulate, toCoverage, toQuantile, type Arrival } from '../support/queue-simulation.ts'

const SEED = 1

/** An album of pictures of each of two owners, at the same times. */
const ALBUMS: readonly Arrival[] = [0, 100_000].flatMap((atMs) =>
  ['bob', 'carol'].map((owner) => ({ atMs, owner, pictures: 50 })),
)
const FLOOD: Arrival = { atMs: 60_000, owner: 'alice', pictures: 200 }

// A smaller one than in bench/queue.ts.
describe('a flood of tasks of one owner', () => {
  test('makes the tasks of others wait at most twice as long, and no estimate useless', async () => {
    const quiet = await simulate(ALBUMS, SEED)
    const flooded = await simulate([...ALBUMS, FLOOD], SEED)
    for (const owner of ['bob', 'carol'])
      expect(toQuantile(flooded.waits(owner), 0.95)).toBeLessThanOrEqual(
        2 * toQuantile(quiet.waits(owner), 0.95),
      )
    for (const { mostInInterval } of [quiet, flooded]) expect(mostInInterval).toBe(LIMIT.limit)
    for (const estimates of [flooded.starts, flooded.ends]) {
      expect(estimates.length).toBeGreaterThan(50)
      // Nine in ten, give or take.
      expect(toCoverage(estimates)).toBeGreaterThan(0.8)
    }
  }, 90_000)
})
