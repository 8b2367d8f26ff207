import { execFileSync } from 'node:child_process'
import { expect, test } from '@jest/globals'

/** What a process writes that logs these fields, given as code. */
function log(fields: string): Record<string, unknown> {
  const program = `import { createLogger } from './src/log.ts'; createLogger('info').info(${fields}, 'said')`
  const output = execFileSync(process.execPath, ['--no-warnings', '--input-type=module', '-e', program], {
    encoding: 'utf8',
  })
  return JSON.parse(output) as Record<string, unknown>
}

test('secrets are hidden by their names, however deep and however capitalised', () => {
  const fields = `{
    token: 'secret-1', taskId: 'shown', at: new Date(0), nothing: null,
    headers: { Authorization: 'secret-2', accept: 'shown' },
    calls: [{ request: { apiKey: 'secret-3', body: { data: { paramJson: 'secret-4' } } } }],
  }`
  expect(log(fields)).toMatchObject({
    token: '[redacted]',
    taskId: 'shown',
    at: '1970-01-01T00:00:00.000Z',
    nothing: null,
    headers: { Authorization: '[redacted]', accept: 'shown' },
    msg: 'said',
  })
  expect(JSON.stringify(log(fields))).not.toContain('secret')
})

test('an error shows its message and stack, and no secret that hangs on it', () => {
  const fields = `{ err: Object.assign(new Error('broken', { cause: new Error('deeper') }), { options: { headers: { cookie: 'secret' } } }) }`
  const { err } = log(fields) as { err: Record<string, string> }
  expect(err).toMatchObject({ type: 'Error', message: 'broken: deeper' })
  expect(err.stack).toContain('caused by: Error: deeper')
  expect(JSON.stringify(err)).not.toContain('secret')
})

test('what refers to itself is cut off', () => {
  const fields = `(() => { const one = { name: 'one' }; one.self = one; return { one } })()`
  expect(JSON.stringify(log(fields))).toContain('[deeper]')
})
