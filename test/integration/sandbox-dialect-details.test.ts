import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from '@jest/globals'
import sharp from 'sharp'
import { VENDORS, type Fields, type VendorClient } from '../support/vendor-clients.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { openVendorWorld, type VendorWorld } from '../support/vendor-world.ts'

const { kieMidjourney, kieJobs, midjourneyProxy, legnext } = VENDORS

/** Posts a body as it is. */
function post(world: VendorWorld, vendor: VendorClient, path: string, body: object) {
  return world.request(path, vendor.auth('any-key'), body)
}

describe('the generations', () => {
  const OWN = '0123456789abcdef0123456789abcdef'

  test.each(['sandbox-plain', 'mj_task_1', '5dd94ec3-7282-4f04-9445-59e850ef1822'])(
    'are known to kie.ai before their first submit: %s',
    async (id) => {
      await using world = await openVendorWorld()
      const { body } = await world.poll(kieMidjourney, id)
      const resultUrls = [0, 1, 2, 3].map((index) => ({
        resultUrl: `${world.url}/pictures/${index}.png?source=${id}`,
      }))
      expect(body).toMatchObject({ code: 200, data: { successFlag: 1, resultInfoJson: { resultUrls } } })
    },
  )

  test('with an id of the form of the own ids are known after a submit', async () => {
    await using world = await openVendorWorld()
    for (const vendor of [kieMidjourney, midjourneyProxy, legnext])
      expect(await world.poll(vendor, OWN)).toMatchObject(vendor.unknown)
    await world.submit(kieJobs, OWN)
    expect((await world.poll(kieMidjourney, OWN)).body).toMatchObject({ data: { successFlag: 1 } })
    expect((await world.poll(midjourneyProxy, OWN)).body).toMatchObject({ action: 'IMAGINE' })
    expect((await world.poll(legnext, OWN)).body).toMatchObject({ task_type: 'diffusion' })
    // A job knows no generations.
    expect(await world.poll(kieJobs, OWN)).toMatchObject(kieJobs.unknown)
  })

  test('are one grid and four buttons at midjourney-proxy', async () => {
    await using world = await openVendorWorld()
    const { body } = await world.poll(midjourneyProxy, 'source-1')
    const { imageUrl, buttons } = body as { imageUrl: string; buttons: { customId: string }[] }
    expect(body).toMatchObject({ id: 'source-1', status: 'SUCCESS', progress: '100%' })
    expect(buttons.map(({ customId }) => customId.split('::').slice(0, 4).join('::'))).toEqual(
      [1, 2, 3, 4].map((number) => `MJ::JOB::upsample::${number}`),
    )
    const read = async (url: string) => Buffer.from(await (await fetch(url)).arrayBuffer())
    const grid = await read(imageUrl)
    expect(await sharp(grid).metadata()).toMatchObject({ width: 512, height: 512, format: 'png' })
    for (const [index, [left, top]] of [
      [0, 0],
      [256, 0],
      [0, 256],
      [256, 256],
    ].entries()) {
      const area = { left: left ?? 0, top: top ?? 0, width: 256, height: 256 }
      const tile = await sharp(grid).extract(area).removeAlpha().raw().toBuffer()
      const picture = await read(`${world.url}/pictures/${index}.png?source=source-1`)
      expect(tile.equals(await sharp(picture).removeAlpha().raw().toBuffer())).toBe(true)
    }
  })

  test('are four pictures at LegNext', async () => {
    await using world = await openVendorWorld()
    const expected = {
      job_id: 'source-1',
      status: 'completed',
      output: {
        image_url: `${world.url}/pictures/grid.png?source=source-1`,
        image_urls: [0, 1, 2, 3].map((index) => `${world.url}/pictures/${index}.png?source=source-1`),
      },
    }
    for (const path of ['/v1/job/source-1', '/api/v1/job/source-1'])
      expect((await world.request(path, legnext.auth('any-key'))).body).toMatchObject(expected)
  })
})

describe('a job of kie.ai', () => {
  const PATH = '/api/v1/jobs/createTask'
  const topaz = (input: object) => ({ model: 'topaz/image-upscale', input })

  test('of topaz is accepted, and echoes its request', async () => {
    await using world = await openVendorWorld()
    const callBackUrl = `${world.receiver.url}/hook`
    const input = { image_url: `${world.url}/pictures/3.png?source=a%20b%2F%3F`, upscale_factor: '2' }
    const { body } = await post(world, kieJobs, PATH, { ...topaz(input), callBackUrl })
    const callback = await world.receiver.nth(1)
    const record = (await world.poll(kieJobs, String(kieJobs.idOf(body as Fields)))).body as Fields
    const { data } = record as { data: { param: string; resultJson: string } }
    expect(JSON.parse(data.param)).toEqual({ model: 'topaz/image-upscale', callBackUrl, input })
    expect(data.resultJson).toContain('/upscaled/3.png?source=a+b%2F%3F')
    expect(callback.body).toMatchObject({ data: { model: 'topaz/image-upscale', param: data.param } })
  })

  test('states its duration in milliseconds in the record, and in seconds in the callback', async () => {
    await using world = await openVendorWorld({ completeAfterMs: 1_000 })
    const { body } = await world.submit(kieJobs, 'sandbox-plain')
    const callback = await world.receiver.nth(1)
    const { data } = (await world.poll(kieJobs, String(kieJobs.idOf(body as Fields)))).body as {
      data: { costTime: number; createTime: number; completeTime: number }
    }
    expect(data.costTime).toBeGreaterThanOrEqual(999)
    expect(callback.body).toMatchObject({ data: { costTime: Math.round(data.costTime / 1_000) } })
    expect(data.completeTime - data.createTime).toBe(data.costTime)
  })

  test('of a picture elsewhere has the URL as its source task', async () => {
    await using world = await openVendorWorld()
    const image = 'https://pictures.example/cat.png'
    const job = {
      model: 'recraft/crisp-upscale',
      input: { image },
      callBackUrl: `${world.receiver.url}/hook`,
    }
    expect((await post(world, kieJobs, PATH, job)).body).toMatchObject(kieJobs.accepted)
    const { body } = await world.receiver.nth(1)
    const query = new URLSearchParams({ source: image }).toString()
    expect(JSON.stringify(body)).toContain(`/upscaled/0.png?${query}`)
  })

  test.each<[string, object]>([
    ['an unknown model', { model: 'topaz/video-upscale', input: { image_url: 'https://a.example/1.png' } }],
    ['no input', { model: 'topaz/image-upscale' }],
    ['no picture', topaz({ upscale_factor: '2' })],
    ['no factor', topaz({ image_url: 'https://a.example/1.png' })],
    ['a number as factor', topaz({ image_url: 'https://a.example/1.png', upscale_factor: 2 })],
    ['a factor of 8', topaz({ image_url: 'https://a.example/1.png', upscale_factor: '8' })],
    ['a relative URL', { model: 'recraft/crisp-upscale', input: { image: '/pictures/0.png' } }],
    [
      "topaz's field for recraft",
      { model: 'recraft/crisp-upscale', input: { image_url: 'https://a.example/' } },
    ],
  ])('is refused as invalid with %s', async (_name, job) => {
    await using world = await openVendorWorld()
    expect(await post(world, kieJobs, PATH, job)).toMatchObject(kieJobs.refused(422))
  })
})

describe('a submit to midjourney-proxy', () => {
  const act = (world: VendorWorld, taskId: string, customId: string) =>
    post(world, midjourneyProxy, '/mj/submit/action', { taskId, customId })
  const buttonOf = async (world: VendorWorld, id: string, index: number) => {
    const { buttons } = (await world.poll(midjourneyProxy, id)).body as { buttons: { customId: string }[] }
    return buttons[index]?.customId ?? 'no button'
  }

  test('names the picture by the button of its generation', async () => {
    await using world = await openVendorWorld()
    const { body } = await act(world, 'source-1', await buttonOf(world, 'source-1', 2))
    expect(body).toMatchObject(midjourneyProxy.accepted)
    await world.settled()
    const { body: record } = await world.poll(midjourneyProxy, String((body as Fields).result))
    expect(record).toMatchObject({ imageUrl: `${world.url}/upscaled/2.png?source=source-1`, state: '' })
  })

  test('is refused with a button of another generation, and without a button', async () => {
    await using world = await openVendorWorld()
    const foreign = await buttonOf(world, 'source-2', 0)
    expect((await act(world, 'source-1', foreign)).body).toMatchObject({ code: 3 })
    for (const customId of ['', 'MJ::JOB::upsample::5::x', 'MJ::JOB::variation::1::x'])
      expect((await act(world, 'source-1', customId)).body).toMatchObject({ code: 4 })
  })

  test.each(['source-1', 'source-1 U0', 'source-1 U5', 'source-1 V1', ' U1', 'source-1 U11'])(
    'is refused as invalid with the content "%s"',
    async (content) => {
      await using world = await openVendorWorld()
      const answer = await post(world, midjourneyProxy, '/mj/submit/simple-change', { content })
      expect(answer).toMatchObject({ status: 200, body: { code: 4 } })
    },
  )

  test('is queued', async () => {
    await using world = await openVendorWorld()
    const { body } = await world.submit(midjourneyProxy, 'sandbox-queued')
    expect(body).toMatchObject({ code: 22, result: expect.any(String), properties: { numberOfQueues: 1 } })
    const id = String((body as Fields).result)
    expect((await world.receiver.nth(4)).body).toMatchObject({ id, status: 'SUCCESS' })
  })

  test('names the existing task, with its picture once it has one', async () => {
    await using world = await openVendorWorld({ completeAfterMs: 3_000 })
    const before = await world.credits()
    const submit = async (index: number) =>
      (await world.submit(midjourneyProxy, 'sandbox-existing', { index })).body as Fields
    const first = await submit(0)
    expect(first).toMatchObject({ code: 1 })
    const { result } = first
    expect(await submit(0)).toEqual({
      code: 21,
      description: expect.any(String),
      result,
      properties: { status: expect.stringMatching(/^(SUBMITTED|IN_PROGRESS)$/) },
    })
    await world.receiver.nth(4)
    const imageUrl = `${world.url}/upscaled/0.png?source=sandbox-existing`
    expect(await submit(0)).toMatchObject({ code: 21, result, properties: { status: 'SUCCESS', imageUrl } })
    expect(await world.credits()).toBe(before - 1)
    expect(await submit(1)).toMatchObject({ code: 1 })
    const others = [kieMidjourney, kieJobs, legnext]
    for (const vendor of [...others, ...others])
      expect((await world.submit(vendor, 'sandbox-existing')).body).toMatchObject(vendor.accepted)
  })

  test.each([3, 4, 9, 23, 24])('is refused with its own code %i', async (code) => {
    await using world = await openVendorWorld()
    const { body } = await world.submit(midjourneyProxy, `sandbox-midjourney-proxy-code-${code}`)
    expect(body).toMatchObject({ code })
  })
})

describe('a submit to LegNext', () => {
  test('is completed in its answer, and called back', async () => {
    await using world = await openVendorWorld({ completeAfterMs: 60_000 })
    const { body } = await world.submit(legnext, 'sandbox-instant', { index: 1 })
    const resultUrl = `${world.url}/upscaled/1.png?source=sandbox-instant`
    expect(body).toMatchObject(legnext.succeeded(resultUrl))
    const id = legnext.idOf(body as Fields)
    expect((await world.poll(legnext, String(id))).body).toMatchObject(legnext.succeeded(resultUrl))
    expect((await world.receiver.nth(1)).body).toMatchObject(legnext.succeededCallback(id, resultUrl))
    expect((await world.submit(kieMidjourney, 'sandbox-instant')).body).toMatchObject(kieMidjourney.accepted)
  })

  test('may use the documented path', async () => {
    await using world = await openVendorWorld()
    const { body } = await post(world, legnext, '/v1/upscale', { jobId: 'source', imageNo: 3, type: 1 })
    expect(body).toMatchObject(legnext.accepted)
  })

  test.each<[string, object]>([
    ['no job', { imageNo: 0, type: 0 }],
    ['an empty job', { jobId: '', imageNo: 0, type: 0 }],
    ['an index of 4', { jobId: 'source', imageNo: 4, type: 0 }],
    ['no type', { jobId: 'source', imageNo: 0 }],
    ['a type of 2', { jobId: 'source', imageNo: 0, type: 2 }],
  ])('is refused as invalid with %s', async (_name, body) => {
    await using world = await openVendorWorld()
    expect(await post(world, legnext, '/api/v1/upscale', body)).toMatchObject(legnext.refused(400))
  })

  test('lowers the balance', async () => {
    await using world = await openVendorWorld()
    const balance = async () => {
      const { body } = await world.request('/api/account/balance', legnext.auth('any-key'))
      expect(body).toMatchObject({ code: 200, message: 'success' })
      return (body as { data: { available_credits: number } }).data.available_credits
    }
    const before = await balance()
    await world.submit(legnext, 'sandbox-plain')
    expect(await balance()).toBe(before - 1)
  })
})

test('a sandbox that starts again completes a task of midjourney-proxy, and announces no step twice', async () => {
  await using dir = await openTempDir()
  await using customer = await openVendorWorld()
  const database = { kind: 'sqlite', file: `${dir.path}/test.db` } as const
  const before = await openVendorWorld({ database })
  const change = { content: 'sandbox-late-2 U1', notifyHook: `${customer.receiver.url}/hook` }
  await post(before, midjourneyProxy, '/mj/submit/simple-change', change)
  await customer.receiver.nth(1)
  await before[Symbol.asyncDispose]()
  const count = customer.receiver.received('/hook').length

  await using after = await openVendorWorld({ database })
  expect((await customer.receiver.nth(count + 1)).body).toMatchObject({ status: 'SUCCESS' })
  await after.settled()
  expect(customer.receiver.received('/hook')).toHaveLength(count + 1)
})

test('a task of an earlier version belongs to the dialect kie-midjourney', async () => {
  await using dir = await openTempDir()
  const file = `${dir.path}/test.db`
  const database = { kind: 'sqlite', file } as const
  await (await openVendorWorld({ database }))[Symbol.asyncDispose]()
  const sqlite = new DatabaseSync(`${file}-sandbox`)
  const id = '0123456789abcdef0123456789abcdef'
  const request = { taskId: 'source-1', imageIndex: 0, waterMark: null, callBackUrl: null }
  const task = JSON.stringify({ request, resultUrl: 'http://a.example/1.png', createdAt: 0 })
  sqlite.prepare('INSERT INTO sandbox_task (id, "dueAt", task) VALUES (?, 1, ?)').run(id, task)
  sqlite.close()

  await using world = await openVendorWorld({ database })
  const { body } = await world.poll(kieMidjourney, id)
  expect(body).toMatchObject(kieMidjourney.succeeded('http://a.example/1.png'))
})
