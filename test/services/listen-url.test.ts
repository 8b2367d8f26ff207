import { expect, test } from '@jest/globals'
import { startProcess } from '../support/process.ts'
import { openTestSchema } from '../support/postgres.ts'

test('a DATABASE_LISTEN_URL of another schema or database stops the start at once, with a reason', async () => {
  await using own = await openTestSchema()
  await using other = await openTestSchema()
  const elsewhere = Object.assign(new URL(own.url), { pathname: '/postgres' }).href
  for (const listenUrl of [other.url, elsewhere]) {
    const startedAt = performance.now()
    await using service = await startProcess({ DATABASE_URL: own.url, DATABASE_LISTEN_URL: listenUrl })
    expect(await service.exited).toEqual({ code: 1, signal: null })
    expect(service.output()).toMatch(/^DATABASE_LISTEN_URL: .* is not the database .* of DATABASE_URL/m)
    // A connection that is left open would keep the process for 10 s more.
    expect(performance.now() - startedAt).toBeLessThan(9_000)
  }
})

test('a DATABASE_LISTEN_URL of the same schema does not', async () => {
  await using own = await openTestSchema()
  await using service = await startProcess({ DATABASE_URL: own.url, DATABASE_LISTEN_URL: own.url })
  expect((await fetch(`${service.url}/readyz`)).status).toBe(200)
})
