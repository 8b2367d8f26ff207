import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { openRaw, toGet, toPost, type RawClient } from '../support/raw-client.ts'
import { json, startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { openScene } from '../support/scene.ts'

const UPSCALE_DOCUMENT =
  'mutation { upscaleImage(input: { taskId: "source", imageIndex: 0, force: true }) { replayed } }'
const UPSCALE = JSON.stringify({ query: UPSCALE_DOCUMENT })
const TYPENAME = JSON.stringify({ query: '{ __typename }' })
const GARBAGE = 'this is not HTTP\r\n\r\n'
const answers = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => Number(status))

describe('what has been answered or closed runs nothing', () => {
  let upstream: ScriptedUpstream
  let gateway: Gateway
  beforeEach(async () => {
    upstream = await startScriptedUpstream()
    gateway = await startGateway({ UPSTREAM_URL: upstream.url })
  })
  afterEach(async () => {
    await gateway[Symbol.asyncDispose]()
    await upstream[Symbol.asyncDispose]()
  })
  /** Only what tests 408 has short limits: on a busy machine they could end any request. */
  const restartHasty = async () => {
    await gateway[Symbol.asyncDispose]()
    const limits = { headersMs: 300, requestMs: 300, checkMs: 50 }
    gateway = await startGateway({ UPSTREAM_URL: upstream.url }, { limits })
  }
  const open = (bytes = '', keepsOpen = false) => openRaw(gateway.url, bytes, keepsOpen)
  /** Counts what was sent to the upstream, after everything that has begun has ended. */
  const countPaid = async () => {
    // A mutation that began before this one has also reached the upstream before it.
    await gateway.run('HTTP', UPSCALE_DOCUMENT)
    await gateway[Symbol.asyncDispose]()
    return upstream.received.length - 1
  }
  /** An upstream that answers a submit only when the test calls the returned function. */
  const holdUpstream = () => {
    const asked = Promise.withResolvers<void>()
    const answer = Promise.withResolvers<void>()
    upstream.onCreate = (response, request) => {
      asked.resolve()
      void answer.promise.then(() =>
        json(200, { code: 200, data: { taskId: 'upstream-1' } })(response, request),
      )
    }
    return { asked: asked.promise, answer: answer.resolve }
  }

  test('a mutation whose body is completed after the 408 does not run', async () => {
    await restartHasty()
    using client = await open(toPost('/graphql', UPSCALE.slice(0, 20), UPSCALE.length), true)
    await client.until(/^HTTP\/1\.1 408 [^]*}$/)
    client.write(UPSCALE.slice(20))
    expect(answers(await client.ended())).toEqual([408])
    expect(await countPaid()).toBe(0)
  })

  test.each([
    ['garbage', UPSCALE + GARBAGE],
    ['more than Content-Length says', `${UPSCALE}}}`],
  ])('a mutation with %s behind it in one packet is answered 400 and does not run', async (_name, body) => {
    using client = await open(toPost('/graphql', body, UPSCALE.length))
    expect(answers(await client.ended())).toEqual([400])
    expect(await countPaid()).toBe(0)
  })

  test('a chunked mutation whose last chunk is followed by garbage does not run', async () => {
    const head = 'Host: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n'
    const chunk = `${UPSCALE.length.toString(16)}\r\n${UPSCALE}\r\n`
    using client = await open(`POST /graphql HTTP/1.1\r\n${head}${chunk}zz\r\n`)
    expect(answers(await client.ended())).toEqual([400])
    expect(await countPaid()).toBe(0)
  })

  test('a mutation that runs is answered although garbage follows it, and the connection closes', async () => {
    const { asked, answer } = holdUpstream()
    using client = await open(toPost('/graphql', UPSCALE))
    await asked
    client.write(GARBAGE)
    client.write(GARBAGE)
    await gateway.run('HTTP', '{ __typename }')
    answer()
    const text = await client.ended()
    expect(answers(text)).toEqual([200])
    expect(text).toMatch(/connection: close[^]*"replayed":false/i)
    expect(await countPaid()).toBe(1)
  })

  test('a mutation that waits behind one that runs does not run once garbage has come', async () => {
    const { asked, answer } = holdUpstream()
    using client = await open(toPost('/graphql', UPSCALE) + toPost('/graphql', UPSCALE))
    await asked
    client.write(GARBAGE)
    await gateway.run('HTTP', '{ __typename }')
    answer()
    expect(answers(await client.ended())).toEqual([200])
    expect(await countPaid()).toBe(1)
  })

  test('a mutation that waits behind one that runs does not run once the client has gone', async () => {
    const { asked, answer } = holdUpstream()
    using client = await open(toPost('/graphql', UPSCALE) + toPost('/graphql', UPSCALE))
    await asked
    client.socket.resetAndDestroy()
    await client.closed
    await gateway.run('HTTP', '{ __typename }')
    answer()
    expect(await countPaid()).toBe(1)
  })

  test('pipelined requests are answered in their order', async () => {
    using client = await open(
      toPost('/graphql', TYPENAME).repeat(10) + toGet('/livez', { connection: 'close' }),
    )
    expect(answers(await client.ended())).toEqual(Array.from({ length: 11 }, () => 200))
  })

  test('more pipelined requests than may wait end the connection, and none of them runs', async () => {
    const { asked, answer } = holdUpstream()
    using client = await open(toPost('/graphql', UPSCALE))
    await asked
    client.write(toPost('/graphql', UPSCALE).repeat(100))
    await gateway.run('HTTP', '{ __typename }')
    answer()
    expect(answers(await client.ended())).toEqual([200])
    expect(await countPaid()).toBe(1)
  })

  test.each([
    ['headers', 'GET /graphql HTTP/1.1\r\nHost: loc', 408],
    ['a body', toPost('/graphql', '{', 100), 408],
    ['a bad request line', 'nonsense\r\n\r\n', 400],
    ['headers that are too large', toGet('/livez', { x: 'x'.repeat(20_000) }), 431],
    [
      'an upgrade at another path',
      toGet('/other', { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' }),
      404,
    ],
  ])(
    'a client that sends %s and never closes is let go of after the answer',
    async (_name, bytes, status) => {
      if (status === 408) await restartHasty()
      using client = await open(bytes, true)
      expect(answers(await client.ended())).toEqual([status])
      // To a connection that the server still holds these bytes could be sent.
      client.write('x')
      client.write('x')
      await client.closed
    },
  )
})

test('a request that was refused before its body came gets no second answer', async () => {
  const secret = { AUTH_JWT_SECRET: 'a secret of more than thirty-two bytes' }
  await using gateway = await startGateway(secret, {
    limits: { headersMs: 2_000, requestMs: 2_000, checkMs: 50 },
  })
  using client = await openRaw(gateway.url, toPost('/graphql', '{', 100))
  expect(answers(await client.ended())).toEqual([401])
})

test('a callback that garbage follows is refused and changes nothing', async () => {
  await using scene = await openScene()
  const { id } = await scene.submit()
  const { callBackUrl } = JSON.parse(scene.upstream.received[0]?.body ?? '') as { callBackUrl: string }
  const body = JSON.stringify({
    code: 200,
    data: { taskId: 'upstream-1', resultUrls: ['https://x.example/1'] },
  })
  using client = await openRaw(scene.gateway.url, toPost(new URL(callBackUrl).pathname, body) + GARBAGE)
  expect(answers(await client.ended())).toEqual([400])
  const { data } = await scene.gateway.run('HTTP', `{ upscaleTask(id: "${id}") { status } }`)
  expect(data).toEqual({ upscaleTask: { status: 'PROCESSING' } })
})

test('garbage ends an event stream without an answer in it, and pipelined requests wait for its end', async () => {
  await using scene = await openScene()
  const { id } = await scene.submit()
  const query = encodeURIComponent(`subscription { taskUpdated(id: "${id}") { status } }`)
  const stream = toGet(`/graphql/stream?query=${query}`, { accept: 'text/event-stream' })
  using client = await openRaw(scene.gateway.url, stream)
  await client.until(/PROCESSING/)
  client.write(toPost('/graphql', UPSCALE))
  await scene.gateway.run('HTTP', '{ __typename }')
  client.write(GARBAGE)
  expect(answers(await client.ended())).toEqual([200])
  await scene.gateway.run('HTTP', '{ upscaleTasks(first: 1) { edges { cursor } } }')
  expect(scene.upstream.received).toHaveLength(1)
})

describe('a client that reads nothing', () => {
  /**
   * A gateway with short limits that has made its large page: the first request waits for that, and then
   * reads.
   */
  const startHasty = async () => {
    const gateway = await startGateway({}, { limits: { stallMs: 100, checkMs: 20, headersMs: 1_000 } })
    await (await fetch(`${gateway.url}/graphql`, { headers: { accept: 'text/html' } })).arrayBuffer()
    return gateway
  }

  /** Resolves when a connection that begins now has run into its limit for headers. */
  const headersLimit = async (gateway: Gateway) => {
    using client = await openRaw(gateway.url, 'GET')
    await client.ended()
  }

  /**
   * Resolves when the server has reset the connection: then a write fails. The page is decompressed while it
   * is sent, so this takes as long as the machine needs. Empty lines between requests are ignored (RFC 9112
   * §2.2).
   */
  const cutOff = async (gateway: Gateway, client: RawClient) => {
    while (client.socket.errored === null) {
      await headersLimit(gateway)
      client.write('\r\n')
    }
  }

  test('is cut off with the answer unsent, while one that reads it gets all of it', async () => {
    await using patient = await startGateway()
    using reader = await openRaw(patient.url, toGet('/graphql', { accept: 'text/html', connection: 'close' }))
    const whole = await reader.ended()
    await using gateway = await startHasty()
    using client = await openRaw(gateway.url)
    client.socket.pause()
    client.write(toGet('/graphql', { accept: 'text/html' }))
    await cutOff(gateway, client)
    const part = await client.ended()
    expect(whole.length).toBeGreaterThan(8_000_000)
    expect(part.length).toBeLessThan(whole.length)
  })

  test('is cut off although it pipelines requests without an end', async () => {
    await using gateway = await startHasty()
    using client = await openRaw(gateway.url)
    client.socket.pause()
    client.write(toGet('/graphql', { accept: 'text/html' }))
    await gateway.run('HTTP', '{ __typename }')
    client.write(toGet('/graphql', { accept: 'text/html' }).repeat(10))
    await cutOff(gateway, client)
    expect((await client.ended()).length).toBeLessThan(9_000_000)
  })

  test('is reset, so that the kernel keeps none of its unsent bytes', async () => {
    await using gateway = await startHasty()
    using client = await openRaw(gateway.url)
    client.socket.pause()
    client.write(toGet('/graphql', { accept: 'text/html' }))
    await cutOff(gateway, client)
    await client.closed
    expect(client.socket.errored).toMatchObject({ code: 'ECONNRESET' })
  })
})

describe('a connection that idles between requests', () => {
  test('outlives the limits of requests by default, and says for how long it stays', async () => {
    await using gateway = await startGateway(
      {},
      { limits: { stallMs: 100, requestMs: 1_000, headersMs: 1_000, checkMs: 20 } },
    )
    using client = await openRaw(gateway.url, toGet('/livez'))
    expect(await client.until(/ok/)).toMatch(/keep-alive: timeout=620/i)
    using slow = await openRaw(gateway.url, 'GET')
    await slow.ended()
    client.write(toGet('/livez', { connection: 'close' }))
    expect(answers(await client.ended())).toEqual([200, 200])
  })

  test('is closed after KEEP_ALIVE_TIMEOUT_MS', async () => {
    await using gateway = await startGateway({ KEEP_ALIVE_TIMEOUT_MS: '1' })
    using client = await openRaw(gateway.url, toGet('/livez'))
    expect(answers(await client.ended())).toEqual([200])
  })
})
