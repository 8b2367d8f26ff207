import { expect, test } from '@jest/globals'
import { openBackends } from '../../src/backends.ts'
import { systemClock } from '../../src/system.ts'
import { openTestSchema } from '../support/postgres.ts'

const log = { info: () => undefined, warn: () => undefined, error: () => undefined }

test('a DATABASE_LISTEN_URL of another schema or database stops the start with a reason', async () => {
  await using own = await openTestSchema()
  await using other = await openTestSchema()
  const elsewhere = Object.assign(new URL(own.url), { pathname: '/postgres' }).href
  const open = (listenUrl: string) =>
    openBackends(
      { database: { kind: 'postgres', url: own.url }, redisUrl: null, listenUrl },
      { pollsPerSecond: 5, clock: systemClock, log, onHint: () => undefined },
    )
  for (const listenUrl of [other.url, elsewhere])
    await expect(open(listenUrl)).rejects.toThrow(
      /^DATABASE_LISTEN_URL: .* is not the database .* of DATABASE_URL/,
    )
  await using _same = await open(own.url)
})
