import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { compareSnapshots, readSnapshot } from '../../bench/soak/heap-snapshot.ts'
import { openTempDir } from '../support/temp-dir.ts'

/**
 * Each snapshot is written in a turn of its own: until its turn ends, the stack may hold what a program has
 * used.
 */
const PROGRAM = `
  const { writeHeapSnapshot } = require('node:v8')
  class Leaked { constructor() { this.text = { a: 1, b: 2 } } }
  class Registry { leaks = new Map() }
  class Collected { bytes = new Array(10) }
  globalThis.registry = new Registry()
  registry.leaks.set(-1, new Leaked())
  new Collected()
  setImmediate(() => {
    writeHeapSnapshot(process.argv[1] + '/before')
    setImmediate(() => {
      for (let n = 0; n < 20_000; n += 1) {
        registry.leaks.set(n, new Leaked())
        new Collected()
      }
      setImmediate(() => writeHeapSnapshot(process.argv[1] + '/after'))
    })
  })`

test('a comparison of heap snapshots names what has grown, by how much, and what retains it', async () => {
  await using dir = await openTempDir()
  await promisify(execFile)(process.execPath, ['-e', PROGRAM, dir.path])
  const [before, after] = [await readSnapshot(`${dir.path}/before`), await readSnapshot(`${dir.path}/after`)]

  const growth = compareSnapshots(before, after, 5)

  const leaked = growth.find(({ group }) => group === 'Leaked')
  expect(leaked).toMatchObject({ count: 20_000 })
  expect(leaked?.bytes).toBeGreaterThan(20_000 * 8)
  const [path, count] = leaked?.retainers[0] ?? []
  expect(path).toMatch(/Map <table> ← Registry\.leaks ← .*\.registry/)
  expect(count).toBe(20_000)
  expect(growth.map(({ group }) => group)).not.toContain('Collected')
})
