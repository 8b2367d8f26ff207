import { expect, test } from '@jest/globals'
import { runErase } from '../support/erase.ts'
import { openTestSchema } from '../support/postgres.ts'
import { startProcess } from '../support/process.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'

const UPSCALE =
  'mutation { upscaleImage(input: {taskId: "source", imageIndex: 0, force: true}) { task { id } } }'
const LIST = '{ upscaleTasks { edges { node { id } } } }'

test('an owner is erased beside running replicas, which then know nothing of the owner', async () => {
  await using schema = await openTestSchema()
  await using upstream = await startScriptedUpstream()
  const settings = {
    DATABASE_URL: schema.url,
    UPSTREAM_URL: upstream.url,
    PUBLIC_URL: 'http://127.0.0.1:1',
    OWNER_RATE_LIMIT: '0',
    UPSTREAM_RATE_LIMIT: '0',
  }
  await using one = await startProcess(settings)
  await using two = await startProcess(settings)
  for (let n = 0; n < 5; n += 1) await one.run(UPSCALE)
  expect(await runErase(schema.url, 'anonymous')).toMatchObject({
    code: 2,
    output: expect.stringMatching(/5 tasks not settled.*Nothing was deleted/),
  })

  upstream.onLookup = json(200, { code: 200, data: { successFlag: 3, errorCode: 500 } })
  const callBack = () =>
    Promise.all(
      upstream.received
        .filter(({ method }) => method === 'POST')
        .map(async ({ body }) => {
          const { pathname } = new URL((JSON.parse(body) as { callBackUrl: string }).callBackUrl)
          const callback = JSON.stringify({ code: 500, data: { taskId: 'upstream-1' } })
          return (await fetch(two.url + pathname, { method: 'POST', body: callback })).status
        }),
    )
  expect(await callBack()).toEqual([200, 200, 200, 200, 200])
  expect(await runErase(schema.url, 'anonymous')).toEqual({
    code: 0,
    output: expect.stringMatching(/^Erased "anonymous": 5 tasks, 0 idempotency keys, 0 deliveries, 0 copies/),
  })
  for (const { run } of [one, two]) expect(await run(LIST)).toEqual({ data: { upscaleTasks: { edges: [] } } })
  expect(await callBack()).toEqual([404, 404, 404, 404, 404])
})
