import { spawnSync } from 'node:child_process'
import { expect, test } from '@jest/globals'

const bench = (...args: string[]) =>
  spawnSync(process.execPath, ['--import', 'tsx', 'bench/compare/main.ts', ...args], { encoding: 'utf8' })

test('the bench prints its usage instead of starting', () => {
  const { status, stdout, stderr } = bench('--help')
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout).toContain('Usage: npm run bench [-- [RUNS] [WORD]]')
  expect(stdout).toContain('Growth: settled tasks in the store')
})

test.each([
  [['1', 'peeers'], 'No table has the word "peeers" in its title'],
  [['peers'], 'RUNS must be a number from 1 to 99, not "peers"'],
  [['0'], 'RUNS must be a number from 1 to 99, not "0"'],
  [['1', 'peers', 'settled'], 'Too many arguments: remove "settled"'],
])('the bench refuses %j', (args, refusal) => {
  const { status, stdout, stderr } = bench(...args)
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
  expect(stderr.split('\n')[0]).toBe(refusal)
})
