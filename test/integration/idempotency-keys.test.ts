import { expect, test } from '@jest/globals'
import { UpscaleImageDocument } from '../generated/operations.ts'
import { openCore } from '../support/core.ts'
import { startGateway } from '../support/gateway.ts'

test("a new key for an existing task counts against the owner's rate, and no other; a known key costs nothing", async () => {
  await using gateway = await startGateway({ OWNER_RATE_LIMIT: '3/60s', UPSTREAM_RATE_LIMIT: '2/60s' })
  const submit = async (idempotencyKey: string | null) => {
    const input = { taskId: 'a', imageIndex: 0, idempotencyKey }
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
    return data?.upscaleImage?.problem?.code ?? data?.upscaleImage?.replayed
  }
  expect(await submit('first')).toBe(false)
  expect(await submit('second')).toBe(true)
  expect(await submit('third')).toBe(true)
  expect(await submit('fourth')).toBe('RATE_LIMITED')
  for (const known of ['first', 'second', 'third', null]) expect(await submit(known)).toBe(true)
  const { data } = await gateway.run<{ upscaleService: { rate: object } }, never>(
    'HTTP',
    '{ upscaleService { rate { remaining } } }',
  )
  expect(data?.upscaleService.rate).toEqual({ remaining: 1 })
})

test('keys are deleted once they have expired', async () => {
  await using core = await openCore({ idempotencyKeyLifetimeMs: 60_000, deadlineMs: 600_000 })
  for (let n = 0; n < 5; n += 1) await core.submit({ idempotencyKey: `early ${n}`, force: false })
  core.clock.advance(59_999)
  await core.submit({ idempotencyKey: 'late', force: false })
  await core.round()
  expect(await core.store.removeExpiredKeys(core.clock.now(), 10)).toBe(0)
  core.clock.advance(1)
  await core.round()
  expect(await core.store.removeExpiredKeys(core.clock.now(), 10)).toBe(0)
  expect(await core.store.removeExpiredKeys(core.clock.now() + 60_000, 10)).toBe(1)
})
