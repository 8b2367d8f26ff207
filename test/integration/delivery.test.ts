import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test } from '@jest/globals'
import { Webhook } from 'standardwebhooks'
import { openDeliverySender } from '../../src/deliveries/sender.ts'
import { createDeliverySigner } from '../../src/deliveries/signer.ts'
import { openConnector } from '../../src/net/outbound.ts'
import type { UpscaleTask } from '../../src/tasks/task.ts'
import {
  GetCallbacksDocument,
  RedeliverCallbacksDocument,
  UpscaleImageDocument,
} from '../generated/operations.ts'
import { ManualClock } from '../support/clock.ts'
import { openCore } from '../support/core.ts'
import { startDnsServer } from '../support/dns-server.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { json, startScriptedUpstream, text, type Received } from '../support/scripted-upstream.ts'

const SECRET = 'whsec_c2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nzg5'
const OTHER_SECRET = 'whsec_b3RoZXItc2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIz'
const RESULT = 'https://example.com/result.png'
const SECOND = 1_000
const HOUR = 3_600_000

/** A caller's own server: a scripted one, to which everything is POSTed. */
const startReceiver = async () => {
  const receiver = await startScriptedUpstream()
  receiver.onCreate = text(200, 'thanks')
  return receiver
}
const bodyOf = (received: Received | undefined) => JSON.parse(received?.body ?? '') as Record<string, unknown>
const headersOf = (received: Received | undefined) => received?.headers as Record<string, string>

type Core = Awaited<ReturnType<typeof openCore>>

/** A task with a callback URL, settled by the vendor's callback. */
async function settled(core: Core, callBackUrl: string, failed = false): Promise<UpscaleTask> {
  const { task } = await core.submit({ callBackUrl })
  if (task === null) throw new Error('It was refused')
  core.upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
  const failure = { code: 'GENERATION_FAILED', upstreamCode: 501, retryAfterMs: 0 } as const
  const outcome = failed
    ? ({ kind: 'failed', failure } as const)
    : ({ kind: 'succeeded', imageUrls: [RESULT] } as const)
  await core.tasks.receive(task, { upstreamTaskId: 'upstream-1', outcome })
  return (await core.tasks.find(task.id)) ?? task
}

const stateOf = async (core: Core, { id }: UpscaleTask) => (await core.outbox.list([id]))[0]

describe('a receiver', () => {
  /** Moves on until the next attempt is due, and makes it; undefined when there is none. */
  const attempt = async (core: Core, task: UpscaleTask) => {
    const { dueAt = null } = (await stateOf(core, task)) ?? {}
    if (dueAt === null) return undefined
    const wait = dueAt - core.clock.now()
    core.clock.advance(wait - 1)
    if (wait > 0) expect(await core.deliver()).toBe(0)
    core.clock.advance(1)
    expect(await core.deliver()).toBe(1)
    return wait
  }

  test.each([0, 1, 2, 3, 4, 5, 6, 7])('that fails %i times is tried when it should be', async (failures) => {
    await using core = await openCore()
    await using receiver = await startReceiver()
    let left = failures
    receiver.onCreate = (response) => response.writeHead((left -= 1) < 0 ? 204 : 500).end()
    const task = await settled(core, receiver.url)
    expect(await core.deliver()).toBe(1)
    for (const wait of [5, 30, 120, 600, 3_600, 21_600, 21_600].slice(0, failures)) {
      const waited = (await attempt(core, task)) ?? 0
      expect(Math.abs(waited - wait * SECOND)).toBeLessThanOrEqual((wait * SECOND) / 10)
    }
    expect(await stateOf(core, task)).toMatchObject({
      state: 'DELIVERED',
      attempts: failures + 1,
      lastStatusCode: 204,
      dueAt: null,
    })
    const ids = receiver.received.map(({ headers }) => headers['webhook-id'])
    expect(new Set(ids)).toEqual(new Set([`${task.id}-${task.version}`]))
  })

  test.each([60 * SECOND, 24 * HOUR])(
    'that always fails is tried for %i ms, and then given up',
    async (deliverForMs) => {
      await using core = await openCore({}, {}, { deliverForMs })
      await using receiver = await startReceiver()
      receiver.onCreate = text(500, '')
      const task = await settled(core, receiver.url)
      const since = core.clock.now()
      while ((await attempt(core, task)) !== undefined)
        expect(core.clock.now()).toBeLessThanOrEqual(since + deliverForMs)
      expect(core.clock.now()).toBe(since + deliverForMs)
      expect(await stateOf(core, task)).toMatchObject({ state: 'GAVE_UP', lastStatusCode: 500, dueAt: null })
    },
  )

  test('that asks for short waits again and again uses up no schedule, and is given up after a day all the same', async () => {
    await using core = await openCore()
    await using receiver = await startReceiver()
    receiver.onCreate = text(503, '', { 'retry-after': '1' })
    const task = await settled(core, receiver.url)
    await core.deliver()
    for (let n = 0; n < 40; n += 1) expect(await attempt(core, task)).toBe(SECOND)
    receiver.onCreate = text(500, '')
    await attempt(core, task)
    // The first failure of the schedule.
    expect(Math.abs(((await attempt(core, task)) ?? 0) - 5 * SECOND)).toBeLessThanOrEqual(500)
    receiver.onCreate = text(429, '', { 'retry-after': '36000' })
    for (let n = 0; n < 4; n += 1) await attempt(core, task)
    expect(await stateOf(core, task)).toMatchObject({ state: 'GAVE_UP', lastStatusCode: 429 })
  })

  test('that answers 429 to a burst gets one at a time, then more again as it takes them, and holds up no other', async () => {
    await using core = await openCore()
    await using receiver = await startReceiver()
    await using other = await startReceiver()
    receiver.onCreate = text(429, '', { 'retry-after': '1' })
    for (let n = 0; n < 25; n += 1) await settled(core, `${receiver.url}/${n}`)
    while ((await core.deliver()) > 0);
    expect(receiver.received).toHaveLength(25)
    core.clock.advance(SECOND)
    let [running, most] = [0, 0]
    const held: (() => void)[] = []
    receiver.onCreate = (response) => {
      running += 1
      most = Math.max(most, running)
      held.push(() => {
        running -= 1
        response.writeHead(204).end()
      })
    }
    for (let n = 0; n < 25; n += 1) await settled(core, `${other.url}/${n}`)
    const seen: number[] = []
    for (let delivered = 25; delivered < 75;) {
      const attempts = await core.deliveries.deliverDue()
      if (attempts.length === 0) throw new Error('Nothing is delivered')
      while (receiver.received.length + other.received.length < delivered + attempts.length) await turn()
      delivered += attempts.length
      seen.push(running)
      for (const release of held.splice(0)) release()
      await Promise.all(attempts)
    }
    expect(seen[0]).toBe(1)
    expect(most).toBeGreaterThan(2)
    expect([receiver.received.length, other.received.length]).toEqual([50, 25])
  })

  test('that answers 410 is told no more', async () => {
    await using core = await openCore()
    await using receiver = await startReceiver()
    receiver.onCreate = text(410, 'gone')
    const task = await settled(core, receiver.url)
    await core.deliver()
    expect(await stateOf(core, task)).toMatchObject({ state: 'GAVE_UP', attempts: 1, lastStatusCode: 410 })
  })

  test.each([
    [429, '40', 40 * SECOND],
    [503, '7200', 2 * HOUR],
    [503, '0', SECOND],
    [429, '999999', 24 * HOUR],
  ])('that answers %i with Retry-After %s is left alone for as long', async (status, retryAfter, ms) => {
    await using core = await openCore()
    await using receiver = await startReceiver()
    receiver.onCreate = text(status, '', { 'retry-after': retryAfter })
    const task = await settled(core, receiver.url)
    await core.deliver()
    expect(await stateOf(core, task)).toMatchObject({
      state: 'PENDING',
      dueAt: core.clock.now() + ms,
    })
  })

  test.each<[string, number, Record<string, string>]>([
    ['a Retry-After without 429 or 503', 500, { 'retry-after': '3600' }],
    ['a redirect, which is not followed', 307, { location: '/elsewhere' }],
    ['not modified', 304, {}],
  ])('that answers with %s is told again after about five seconds', async (_name, status, headers) => {
    await using core = await openCore()
    await using receiver = await startReceiver()
    receiver.onCreate = text(status, '', headers)
    const task = await settled(core, receiver.url)
    await core.deliver()
    const { dueAt } = (await stateOf(core, task)) ?? {}
    expect(Math.abs((dueAt ?? 0) - core.clock.now() - 5_000)).toBeLessThanOrEqual(500)
    expect(receiver.received).toHaveLength(1)
  })

  test.each<[string, (response: import('node:http').ServerResponse) => void, object, number]>([
    ['says nothing', () => undefined, { state: 'PENDING', lastStatusCode: null }, 500],
    ['hangs up', (response) => response.destroy(), { state: 'PENDING', lastStatusCode: null }, 20_000],
    [
      'says 200 and then talks without end',
      (response) => {
        const talk = () => response.write('x'.repeat(8_192), (error) => !error && setImmediate(talk))
        talk()
      },
      { state: 'DELIVERED', lastStatusCode: 200 },
      20_000,
    ],
    [
      'says 200 and then nothing more',
      (response) => void response.writeHead(200).write('{'),
      { state: 'DELIVERED', lastStatusCode: 200 },
      3_000,
    ],
  ])('that %s holds nobody up', async (_name, answer, expected, deliveryTimeoutMs) => {
    await using core = await openCore({}, {}, { deliveryTimeoutMs })
    await using receiver = await startReceiver()
    receiver.onCreate = answer
    const task = await settled(core, receiver.url)
    await core.deliver()
    expect(await stateOf(core, task)).toMatchObject({ ...expected, attempts: 1 })
  })

  test('that is slow keeps few attempts busy, and another is told at once', async () => {
    await using core = await openCore()
    await using slow = await startReceiver()
    await using quick = await startReceiver()
    const held: (() => void)[] = []
    slow.onCreate = (response) => void held.push(() => response.end())
    for (let n = 0; n < 60; n += 1) await settled(core, `${slow.url}/${n}`)
    const first = await core.deliveries.deliverDue()
    while (slow.received.length < first.length) await turn()
    expect(first.length).toBeGreaterThanOrEqual(16)
    expect(first.length).toBeLessThanOrEqual(24)
    expect(await core.deliver()).toBe(0)
    for (let n = 0; n < 60; n += 1) await settled(core, `${quick.url}/${n}`)
    let told = 0
    for (let round = 0; round < 5; round += 1) told += await core.deliver()
    expect(told).toBe(60)
    expect(quick.received).toHaveLength(60)
    expect(slow.received).toHaveLength(first.length)

    // Each answer lets a waiting delivery begin, until all are sent.
    slow.onCreate = text(200, '')
    for (const release of held) release()
    await Promise.all(first)
    let more = 0
    for (let round = 0; round < 10; round += 1) more += await core.deliver()
    expect(first.length + more).toBe(60)
  })
})

test('an owner whose receivers are all slow, on however many hosts, holds up no other', async () => {
  await using core = await openCore()
  await using quick = await startReceiver()
  await using opened = new AsyncDisposableStack()
  const held: (() => void)[] = []
  const settle = async (owner: string, callBackUrl: string) => {
    const { task } = await core.submit({ owner, callBackUrl })
    const outcome = { kind: 'succeeded', imageUrls: [RESULT] } as const
    if (task) await core.tasks.receive(task, { upstreamTaskId: 'upstream-1', outcome })
  }
  for (let host = 0; host < 10; host += 1) {
    const slow = opened.use(await startReceiver())
    slow.onCreate = (response) => void held.push(() => response.end())
    for (let n = 0; n < 15; n += 1) await settle('mallory', `${slow.url}/${n}`)
  }
  await settle('alice', quick.url)
  const started = await core.deliveries.deliverDue()
  while (quick.received.length === 0) await turn()
  expect(started.length).toBeGreaterThanOrEqual(101)
  expect(started.length).toBeLessThanOrEqual(108)
  while (held.length < started.length - 1) await turn()
  for (const release of held) release()
  await Promise.all(started)
})

describe('what is told', () => {
  test('has the shape of the vendor’s callback, with our task beside it', async () => {
    await using core = await openCore()
    await using receiver = await startReceiver()
    const task = await settled(core, `${receiver.url}/hook?secret=1`)
    await core.deliver()
    expect(receiver.received[0]).toMatchObject({
      method: 'POST',
      path: '/hook?secret=1',
      headers: { 'content-type': 'application/json', 'user-agent': 'upscale-gateway' },
    })
    expect(bodyOf(receiver.received[0])).toEqual({
      code: 200,
      msg: 'success',
      data: {
        taskId: task.id,
        resultUrls: [RESULT],
        task: { id: task.id, version: 3, status: 'SUCCEEDED', problem: null },
      },
    })
  })

  test('of a failure has the upstream’s number, and the problem as GraphQL shows it', async () => {
    await using core = await openCore()
    await using receiver = await startReceiver()
    const task = await settled(core, receiver.url, true)
    await core.deliver()
    expect(bodyOf(receiver.received[0])).toEqual({
      code: 501,
      msg: expect.stringContaining('could not be upscaled'),
      data: {
        taskId: task.id,
        resultUrls: [],
        task: {
          id: task.id,
          version: 3,
          status: 'FAILED',
          problem: {
            code: 'GENERATION_FAILED',
            message: expect.any(String),
            retryable: true,
            retryAfterMs: 0,
            upstreamCode: 501,
            taskId: task.id,
            correlationId: 'correlation',
          },
        },
      },
    })
  })

  test.each<[string, number, (core: Core) => Promise<unknown>]>([
    [
      'a refusal',
      402,
      (core) => {
        core.upstream.onCreate = json(200, { code: 402, msg: 'x' })
        return Promise.resolve()
      },
    ],
    [
      'a deadline, which has no number',
      500,
      (core) => {
        core.upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
        return Promise.resolve()
      },
    ],
  ])('of %s has the code %i', async (_name, code, prepare) => {
    await using core = await openCore()
    await using receiver = await startReceiver()
    await prepare(core)
    await core.submit({ callBackUrl: receiver.url })
    core.clock.advance(HOUR)
    await core.round()
    await core.deliver()
    expect(bodyOf(receiver.received[0])).toMatchObject({ code })
  })

  test('after a late success is told too, under its own id', async () => {
    await using core = await openCore()
    await using receiver = await startReceiver()
    const failed = await settled(core, receiver.url, true)
    await core.deliver()
    const outcome = { kind: 'succeeded', imageUrls: [RESULT] } as const
    await core.tasks.receive(failed, { upstreamTaskId: 'upstream-1', outcome })
    await core.deliver()
    expect(receiver.received.map((each) => [headersOf(each)['webhook-id'], bodyOf(each).code])).toEqual([
      [`${failed.id}-3`, 501],
      [`${failed.id}-4`, 200],
    ])
  })

  test('of one task comes in order: newer news waits for the attempt under way, and replaces what never arrived', async () => {
    await using core = await openCore()
    await using receiver = await startReceiver()
    const held = Promise.withResolvers<() => void>()
    receiver.onCreate = (response) => held.resolve(() => response.writeHead(500).end())
    const failed = await settled(core, receiver.url, true)
    const attempts = await core.deliveries.deliverDue()
    const release = await held.promise
    const outcome = { kind: 'succeeded', imageUrls: [RESULT] } as const
    await core.tasks.receive(failed, { upstreamTaskId: 'upstream-1', outcome })
    expect(await core.deliver()).toBe(0)
    release()
    await Promise.all(attempts)
    receiver.onCreate = text(200, '')
    expect(await core.deliver()).toBe(1)
    core.clock.advance(100 * HOUR)
    expect(await core.deliver()).toBe(0)
    expect(receiver.received.map((each) => bodyOf(each).code)).toEqual([501, 200])
  })
})

test('a failure is never delivered as 200, whatever the upstream called it', async () => {
  await using core = await openCore()
  await using receiver = await startReceiver()
  await core.submit({ callBackUrl: receiver.url })
  core.upstream.onLookup = json(200, { code: 200, data: { successFlag: 2, errorCode: 200 } })
  core.clock.advance(30_000)
  await core.round()
  await core.deliver()
  expect(bodyOf(receiver.received[0])).toMatchObject({
    code: 500,
    data: { task: { status: 'FAILED', problem: { code: 'UPSTREAM_PROTOCOL_ERROR', upstreamCode: 200 } } },
  })
})

describe('a signature', () => {
  /** Delivers one callback of a real service, whose clock is the real one. */
  async function deliverOne(settings: Record<string, string>) {
    await using receiver = await startReceiver()
    await using gateway = await startGateway({ CALLBACK_ALLOW_HOSTS: '127.0.0.1', ...settings })
    const input = { taskId: 'source', imageIndex: 0, callBackUrl: `${receiver.url}/hook` }
    await gateway.run('HTTP', UpscaleImageDocument, { input })
    while (receiver.received.length === 0) await turn()
    const [received] = receiver.received
    return { body: received?.body ?? '', headers: headersOf(received), log: gateway.log() }
  }

  test('is accepted by the specification’s own verifier, and not for anything changed', async () => {
    const { body, headers } = await deliverOne({ CALLBACK_SIGNING_SECRETS: SECRET })
    const webhook = new Webhook(SECRET)
    expect(webhook.verify(body, headers)).toEqual(JSON.parse(body))
    expect(() => webhook.verify(`${body} `, headers)).toThrow('No matching signature')
    expect(() => webhook.verify(body, { ...headers, 'webhook-id': 'x' })).toThrow('No matching signature')
    const later = String(Number(headers['webhook-timestamp']) + 1)
    expect(() => webhook.verify(body, { ...headers, 'webhook-timestamp': later })).toThrow('No matching')
    expect(() => new Webhook(OTHER_SECRET).verify(body, headers)).toThrow('No matching signature')
  })

  test('is there for each secret while one is replaced by another', async () => {
    const { body, headers } = await deliverOne({ CALLBACK_SIGNING_SECRETS: `${OTHER_SECRET}, ${SECRET}` })
    for (const secret of [SECRET, OTHER_SECRET])
      expect(new Webhook(secret).verify(body, headers)).toBeDefined()
  })

  test('in the sandbox is made with a secret that is shown', async () => {
    const { body, headers, log } = await deliverOne({})
    const [secret = ''] = /whsec_[A-Za-z0-9+/=]+/.exec(log) ?? []
    expect(new Webhook(secret).verify(body, headers)).toBeDefined()
  })

  test('is made with an owner’s own secrets, where there are any', () => {
    const signer = createDeliverySigner([
      { owner: null, secret: SECRET },
      { owner: 'alice', secret: OTHER_SECRET },
    ])
    const now = Date.now()
    for (const [owner, secret] of [
      ['alice', OTHER_SECRET],
      ['bob', SECRET],
    ] as const)
      expect(new Webhook(secret).verify('{}', signer.sign(owner, 'id', now, '{}') ?? {})).toEqual({})
    const single = createDeliverySigner([{ owner: 'alice', secret: SECRET }])
    expect([single.canSign('alice'), single.canSign('bob')]).toEqual([true, false])
    expect(single.sign('bob', 'id', now, '{}')).toBeUndefined()
  })
})

describe('a private network', () => {
  test('is not reached by a name that pointed to the public when it was given in', async () => {
    let address = '93.184.216.34'
    await using dns = await startDnsServer((_name, type) => (type === 'A' ? address : 'NODATA'))
    await using receiver = await startReceiver()
    const port = new URL(receiver.url).port
    const clock = new ManualClock()
    await using gateway = await startGateway({}, { nameServers: [dns.address], clock })
    const callBackUrl = `http://rebind.example.com:${port}/hook`
    // Refused by the sandbox, and so settled at once.
    const input = { taskId: 'sandbox-code-402', imageIndex: 0, callBackUrl }
    address = '127.0.0.1'
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
    const id = data?.upscaleImage?.problem?.taskId ?? ''
    while (!gateway.log().includes('a delivery failed')) await turn()
    expect(gateway.log()).toMatch(/127\.0\.0\.1.{0,80}is not allowed/)
    expect(receiver.received).toHaveLength(0)
    // It is logged before it is recorded.
    while ((await callbacksOf(gateway, id))?.[0]?.attempts !== 1) await turn()
    expect(await callbacksOf(gateway, id)).toMatchObject([
      { state: 'PENDING', attempts: 1, lastStatusCode: null },
    ])
  })

  test('is not reached by a redirect', async () => {
    await using inner = await startReceiver()
    await using receiver = await startReceiver()
    receiver.onCreate = text(307, '', { location: inner.url })
    using sender = openDeliverySender({
      timeoutMs: 2_000,
      allowedHosts: ['127.0.0.1'],
      connector: openConnector(),
      clock: new ManualClock(),
    })
    expect(await sender.send(receiver.url, {}, '{}')).toMatchObject({ kind: 'answered', status: 307 })
    expect(inner.received).toHaveLength(0)
  })

  test.each([
    'http://127.0.0.1',
    'http://localhost',
    'http://[::1]',
    'http://[::ffff:127.0.0.1]',
    'http://0.0.0.0',
    // Connections to the IPv4-compatible form of loopback are refused before they are made, too.
    'http://[::7f00:1]',
    'http://[fe00::1]',
    'http://168.63.129.16',
  ])('is not reached by %s, although it stands there', async (base) => {
    await using receiver = await startReceiver()
    const clock = new ManualClock()
    using sender = openDeliverySender({
      timeoutMs: 2_000,
      allowedHosts: [],
      connector: openConnector(),
      clock,
    })

    const answer = await sender.send(`${base}:${new URL(receiver.url).port}/`, {}, '{}')
    expect(answer).toMatchObject({ kind: 'unanswered', cause: expect.stringContaining('is not allowed') })
    expect(receiver.received).toHaveLength(0)
  })
})

const callbacksOf = async (gateway: Gateway, id: string) =>
  (await gateway.run('HTTP', GetCallbacksDocument, { id })).data?.upscaleTask?.callbacks

test('the lease of an attempt is longer than its timeout, so that no other process repeats a running attempt', async () => {
  const deliveryTimeoutMs = 20 * SECOND
  await using core = await openCore({}, {}, { deliveryTimeoutMs })
  await using receiver = await startReceiver()
  const asked = Promise.withResolvers<void>()
  receiver.onCreate = () => asked.resolve()
  const task = await settled(core, receiver.url)
  const startedAt = core.clock.now()
  const attempts = await core.deliveries.deliverDue()
  await asked.promise
  expect((await stateOf(core, task))?.leasedUntil).toBeGreaterThan(startedAt + deliveryTimeoutMs)
  core.endDeliveries()
  await Promise.all(attempts)
})

test('a delivery that is cut short because the service ends counts for nothing, and may be tried at once', async () => {
  await using core = await openCore()
  await using receiver = await startReceiver()
  const asked = Promise.withResolvers<void>()
  receiver.onCreate = () => asked.resolve()
  const task = await settled(core, receiver.url)
  const attempts = await core.deliveries.deliverDue()
  await asked.promise
  core.endDeliveries()
  await Promise.all(attempts)
  expect(await stateOf(core, task)).toMatchObject({
    state: 'PENDING',
    attempts: 0,
    leasedUntil: null,
    dueAt: core.clock.now(),
  })
})

describe('over GraphQL', () => {
  const settings = { CALLBACK_ALLOW_HOSTS: '127.0.0.1', CALLBACK_SIGNING_SECRETS: SECRET }
  const submit = async (gateway: Gateway, callBackUrl: string, changes: object = {}) => {
    const input = { taskId: 'source', imageIndex: 0, callBackUrl, ...changes }
    return gateway.run('HTTP', UpscaleImageDocument, { input })
  }

  test('a task shows what became of its callbacks, without their queries', async () => {
    await using receiver = await startReceiver()
    await using gateway = await startGateway(settings)
    const { data } = await submit(gateway, `${receiver.url}/hook?token=t`, { taskId: 'sandbox-lost' })
    const id = data?.upscaleImage?.task?.id ?? ''
    const url = `${receiver.url}/hook`
    const pending = { url, state: 'PENDING', attempts: 0, lastStatusCode: null, nextAttemptAt: null }
    expect(await callbacksOf(gateway, id)).toEqual([pending])
  })

  test('a replay adds a URL that its task does not have yet, up to five; a settled task tells it at once', async () => {
    await using receiver = await startReceiver()
    await using gateway = await startGateway(settings)
    const { data } = await submit(gateway, `${receiver.url}/0`)
    const id = data?.upscaleImage?.task?.id ?? ''
    while (receiver.received.length === 0) await turn()
    for (const path of ['1', '2', '3', '4', '4']) {
      const again = await submit(gateway, `${receiver.url}/${path}`)
      expect(again.data?.upscaleImage).toMatchObject({ replayed: true, task: { id } })
    }
    while (receiver.received.length < 5) await turn()
    expect(receiver.received.map(({ path }) => path).sort()).toEqual(['/0', '/1', '/2', '/3', '/4'])
    const sixth = await submit(gateway, `${receiver.url}/5`)
    expect(sixth.errors?.[0]?.extensions).toMatchObject({ code: 'BAD_USER_INPUT', field: 'callBackUrl' })
  })

  test('its owner can have it told once more, and nobody else', async () => {
    await using receiver = await startReceiver()
    await using gateway = await startGateway(settings)
    const { data } = await submit(gateway, receiver.url)
    const id = data?.upscaleImage?.task?.id ?? ''
    while ((await callbacksOf(gateway, id))?.[0]?.state !== 'DELIVERED') await turn()
    const again = await gateway.run('HTTP', RedeliverCallbacksDocument, { id })
    expect(again.data?.redeliverCallbacks).toMatchObject({ id })
    while (receiver.received.length < 2) await turn()
    const [first, second] = receiver.received.map(headersOf)
    expect(second?.['webhook-id']).toBe(first?.['webhook-id'])

    const unknown = await gateway.run('HTTP', RedeliverCallbacksDocument, { id: 'nobody' })
    expect(unknown).toMatchObject({
      data: { redeliverCallbacks: null },
      errors: [{ extensions: { code: 'TASK_NOT_FOUND', taskId: 'nobody' } }],
    })
  })

  test('being told once more counts in the rate limit of its owner', async () => {
    await using receiver = await startReceiver()
    await using gateway = await startGateway({ ...settings, OWNER_RATE_LIMIT: '2/60s' })
    const { data } = await submit(gateway, receiver.url)
    const id = data?.upscaleImage?.task?.id ?? ''
    expect((await gateway.run('HTTP', RedeliverCallbacksDocument, { id })).errors).toBeUndefined()
    expect(await gateway.run('HTTP', RedeliverCallbacksDocument, { id })).toMatchObject({
      data: { redeliverCallbacks: null },
      errors: [{ extensions: { code: 'RATE_LIMITED', retryable: true, taskId: id } }],
    })
  })

  test('live mode without a secret takes no callBackUrl, says what is missing, and sends nothing', async () => {
    await using upstream = await startScriptedUpstream()
    await using gateway = await startGateway({
      UPSTREAM_URL: upstream.url,
      UPSTREAM_API_KEY: 'key',
      AUTH_MODE: 'none',
    })
    const { errors } = await submit(gateway, 'https://example.com/hook')
    expect(errors?.[0]).toMatchObject({
      message: expect.stringContaining('CALLBACK_SIGNING_SECRETS'),
      extensions: { code: 'BAD_USER_INPUT', field: 'callBackUrl' },
    })
    expect(upstream.received).toHaveLength(0)
  })
})
