import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from '@jest/globals'
import { systemSecrets } from '../../src/system.ts'

test('ids are UUIDs of version 7 that sort by when they were made', async () => {
  const ids = [systemSecrets.newId()]
  while (ids.length < 3) {
    const before = Date.now()
    while (Date.now() === before) await new Promise((resolve) => setImmediate(resolve))
    ids.push(systemSecrets.newId())
  }
  for (const id of ids)
    expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect([...ids].sort()).toEqual(ids)
  expect(Math.abs(parseInt(ids[2]?.replace('-', '').slice(0, 12) ?? '', 16) - Date.now())).toBeLessThan(
    60_000,
  )
})

test('no token is given out twice, and each has 256 bits', () => {
  const tokens = Array.from({ length: 2_000 }, () => systemSecrets.newToken())
  expect(new Set(tokens).size).toBe(2_000)
  for (const token of tokens) expect(Buffer.from(token, 'base64url')).toHaveLength(32)
  // As many bits set as not.
  const ones = tokens.reduce(
    (sum, token) =>
      sum +
      [...Buffer.from(token, 'base64url')].reduce(
        (bits, byte) => bits + byte.toString(2).replaceAll('0', '').length,
        0,
      ),
    0,
  )
  expect(ones / (2_000 * 256)).toBeCloseTo(0.5, 1)
})

test('what is overdue is called without a warning of Node', async () => {
  const program = `const { systemClock } = await import('./src/system.ts')
    systemClock.after(-0.5, () => console.log('called'))`
  const options = { env: { ...process.env, NODE_OPTIONS: '' } }
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], options)
  expect(await run).toEqual({ stdout: 'called\n', stderr: '' })
})
