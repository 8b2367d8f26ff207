import { createHmac } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { VENDORS, type Fields, type VendorClient } from '../support/vendor-clients.ts'
import { openVendorWorld, type VendorWorld } from '../support/vendor-world.ts'
import { waitFor } from '../support/wait-for.ts'

const ALL = Object.values(VENDORS)

/** Submits a source task that is accepted; resolves to the id of the task. */
async function accepted(world: VendorWorld, vendor: VendorClient, source: string, index = 0) {
  const { status, body } = await world.submit(vendor, source, { index })
  expect([status, body]).toMatchObject([200, vendor.accepted])
  return String(vendor.idOf(body as Fields))
}

function toResultUrl({ url }: VendorWorld, source: string, index = 0): string {
  return `${url}/upscaled/${index}.png?source=${source}`
}

/** The callback of the completion. */
function completionOf({ receiver }: VendorWorld, vendor: VendorClient, path?: string) {
  return receiver.nth(vendor.progress.length + 1, path)
}

describe.each(ALL)('the dialect $name', (vendor) => {
  const { name } = vendor

  test('accepts, completes, calls back and reports the result', async () => {
    await using world = await openVendorWorld()
    const before = await world.credits()
    const id = await accepted(world, vendor, 'sandbox-plain', 2)
    const resultUrl = toResultUrl(world, 'sandbox-plain', 2)
    const { body } = await completionOf(world, vendor)
    expect(body).toMatchObject(vendor.succeededCallback(id, resultUrl))
    expect((await world.poll(vendor, id)).body).toMatchObject(vendor.succeeded(resultUrl))
    expect((await fetch(resultUrl)).headers.get('content-type')).toBe('image/png')
    expect(await world.credits()).toBe(before - 1)
    await world.settled()
    const earlier = world.receiver.received('/hook').slice(0, -1)
    expect(earlier.map((callback) => callback.body)).toMatchObject([...vendor.progress])
  })

  test('reports a running task, and none of another dialect', async () => {
    await using world = await openVendorWorld()
    const id = await accepted(world, vendor, 'sandbox-late-60')
    expect((await world.poll(vendor, id)).body).toMatchObject(vendor.running)
    for (const other of ALL)
      if (other !== vendor) expect(await world.poll(other, id)).toMatchObject(other.unknown)
  })

  test('needs no callback URL', async () => {
    await using world = await openVendorWorld()
    const { body } = await world.submit(vendor, 'sandbox-plain', { hook: null })
    await world.settled()
    const answer = await world.poll(vendor, String(vendor.idOf(body as Fields)))
    expect(answer.body).toMatchObject(vendor.succeeded(toResultUrl(world, 'sandbox-plain')))
    expect(world.receiver.received('/hook')).toEqual([])
  })

  test('refuses requests without its key in its header, and with another one', async () => {
    await using world = await openVendorWorld({ apiKey: 'the-key' })
    const { path, body } = vendor.submit({ url: world.url, source: 'sandbox-plain', index: 0, hook: null })
    for (const headers of [{}, vendor.auth(''), vendor.auth('any-key'), { authorization: 'the-key' }]) {
      expect(await world.request(path, headers, body)).toMatchObject(vendor.unauthorized)
      expect(await world.request(vendor.poll('x'), headers)).toMatchObject(vendor.unauthorized)
    }
    expect((await world.request(path, vendor.auth('the-key'), body)).body).toMatchObject(vendor.accepted)
  })

  test.each([400, 401, 402, 404, 422, 429, 433, 455, 500, 501, 505])(
    'translates sandbox-code-%i',
    async (code) => {
      await using world = await openVendorWorld()
      const before = await world.credits()
      expect(await world.submit(vendor, `sandbox-code-${code}`)).toMatchObject(vendor.refused(code))
      expect(await world.credits()).toBe(before)
    },
  )

  test.each([402, 429, 503])('refuses sandbox-http-%i with this status', async (status) => {
    await using world = await openVendorWorld()
    const before = await world.credits()
    const answer = await world.submit(vendor, `sandbox-http-${status}`)
    expect(answer).toMatchObject({ ...vendor.refused(status), status })
    expect(await world.credits()).toBe(before)
  })

  test('fails by callback', async () => {
    await using world = await openVendorWorld()
    const id = await accepted(world, vendor, 'sandbox-callback-501')
    expect((await completionOf(world, vendor)).body).toMatchObject(vendor.failedCallback(id, 501))
    expect((await world.poll(vendor, id)).body).toMatchObject(vendor.failed(501))
  })

  test('plays lost and repeated callbacks', async () => {
    await using world = await openVendorWorld()
    const lost = await accepted(world, vendor, 'sandbox-lost')
    await world.settled()
    expect((await world.poll(vendor, lost)).body).toMatchObject(
      vendor.succeeded(toResultUrl(world, 'sandbox-lost')),
    )
    expect(world.receiver.received('/hook')).toEqual([])

    const id = await accepted(world, vendor, 'sandbox-duplicate')
    await world.receiver.nth(vendor.progress.length + 3)
    const last = world.receiver.received('/hook').slice(-3)
    for (const { body } of last) {
      expect(body).toMatchObject(vendor.succeededCallback(id, toResultUrl(world, 'sandbox-duplicate')))
      expect(body).toEqual(last[0]?.body)
    }
  })

  test('calls back before the answer', async () => {
    await using world = await openVendorWorld()
    const release = world.receiver.hold()
    let answered = false
    const creating = accepted(world, vendor, 'sandbox-early').finally(() => (answered = true))
    const { body } = await world.receiver.nth(1)
    await world.credits()
    expect(answered).toBe(false)
    release()
    expect(body).toMatchObject(vendor.succeededCallback(await creating, toResultUrl(world, 'sandbox-early')))
  })

  test('loses the answers of accepted submits', async () => {
    await using world = await openVendorWorld()
    const before = await world.credits()
    await expect(world.submit(vendor, 'sandbox-reset', { hook: '/reset' })).rejects.toThrow()
    const page = await world.submit(vendor, 'sandbox-html-502', { hook: '/html-502' })
    expect(page).toMatchObject({ status: 502, type: expect.stringMatching(/^text\/html/) })
    const empty = await world.submit(vendor, 'sandbox-empty-200', { hook: '/empty-200' })
    expect(empty).toMatchObject({ status: 200, body: '' })
    const nameless = await world.submit(vendor, 'sandbox-no-id', { hook: '/no-id' })
    expect(nameless.status).toBe(200)
    expect(vendor.idOf(nameless.body as Fields)).toBeUndefined()
    for (const kind of ['reset', 'html-502', 'empty-200', 'no-id']) {
      const { body } = await completionOf(world, vendor, `/${kind}`)
      const resultUrl = toResultUrl(world, `sandbox-${kind}`)
      expect(body).toMatchObject(vendor.succeededCallback(expect.any(String), resultUrl))
    }
    expect(await world.credits()).toBe(before - 4)
  })

  test('hangs, and completes once the client has given up', async () => {
    await using world = await openVendorWorld()
    const before = await world.credits()
    const { path, body } = vendor.submit({
      url: world.url,
      source: 'sandbox-hang',
      index: 0,
      hook: `${world.receiver.url}/hook`,
    })
    const client = new AbortController()
    const hanging = fetch(world.url + path, {
      method: 'POST',
      headers: { ...vendor.auth('any-key'), 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: client.signal,
    }).catch(() => 'given up')
    await waitFor(async () => (await world.credits()) < before)
    expect(world.receiver.received('/hook')).toEqual([])
    client.abort()
    expect(await hanging).toBe('given up')
    await completionOf(world, vendor)
  })

  test('accepts nothing behind a proxy that was not reached', async () => {
    await using world = await openVendorWorld()
    const before = await world.credits()
    expect(await world.submit(vendor, 'sandbox-html-503')).toMatchObject({ status: 503, retryAfter: '20' })
    expect(await world.submit(vendor, 'sandbox-empty-404')).toMatchObject({ status: 404, body: '' })
    expect(await world.credits()).toBe(before)
  })

  test('is busy, and counts for itself', async () => {
    await using world = await openVendorWorld()
    for (const other of ALL)
      expect(await world.submit(other, 'sandbox-busy-1')).toMatchObject(other.refused(429))
    await accepted(world, vendor, 'sandbox-busy-1')
  })

  test('shares the limit of the account', async () => {
    await using world = await openVendorWorld({ rateLimit: { limit: 1, perMs: 600_000 } })
    await world.submit(VENDORS.kieMidjourney, 'sandbox-plain')
    const refused = await world.submit(vendor, 'sandbox-plain')
    expect(refused).toMatchObject({ ...vendor.refused(429), status: 429, retryAfter: '600' })
  })

  test('plays a scenario with its name, which the others accept', async () => {
    await using world = await openVendorWorld()
    for (const other of ALL) {
      const answer = await world.submit(other, `sandbox-${name}-code-505`)
      expect(answer).toMatchObject(
        other === vendor ? other.refused(505) : { status: 200, body: other.accepted },
      )
    }
    await expect(world.submit(vendor, `sandbox-${name}-reset`)).rejects.toThrow()
    await world.submit(vendor, `sandbox-${name}-callback-500`, { hook: '/own' })
    const { body } = await completionOf(world, vendor, '/own')
    expect(body).toMatchObject(vendor.failedCallback(expect.any(String), 500))
  })

  test('signs callbacks as kie.ai if it is kie.ai', async () => {
    await using world = await openVendorWorld({ webhookKey: 'key' })
    const id = await accepted(world, vendor, 'sandbox-plain')
    const { headers } = await completionOf(world, vendor)
    const message = `${id}.${String(headers['x-webhook-timestamp'])}`
    const signature = createHmac('sha256', 'key').update(message).digest('base64')
    expect(headers['x-webhook-signature']).toBe(name.startsWith('kie-') ? signature : undefined)
  })
})
