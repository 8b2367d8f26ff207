import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { SignJWT } from 'jose'
import { WebSocket } from 'ws'
import { UpscaleImageDocument } from '../generated/operations.ts'
import { ManualClock } from '../support/clock.ts'
import { startGateway, TRANSPORTS, type Gateway } from '../support/gateway.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'

const many = (count: number, make: (index: number) => string) =>
  Array.from({ length: count }, (_, n) => make(n)).join(' ')
const nested = (levels: number) => {
  // upscaleTasks.edges.node.source.id is five deep; fragments and introspection-free fields cannot go deeper.
  const inner = '{ edges { node { source { id } } } }'
  return levels <= 5
    ? `{ upscaleTasks ${inner} }`
    : `{ ${'... on Query { '.repeat(levels)}upscaleTasks ${inner}${' }'.repeat(levels)} }`
}

describe('operation limits', () => {
  let gateway: Gateway
  beforeAll(async () => {
    gateway = await startGateway()
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
  })

  describe.each(TRANSPORTS)('over %s', (transport) => {
    const fits: [string, string][] = [
      [
        '30 aliases',
        `{ ${many(15, (n) => `a${n}: __typename`)} upscaleTask(id: "x") { ${many(15, (n) => `b${n}: id`)} } }`,
      ],
      ['20 root fields', `{ ${many(20, (n) => `a${n}: upscaleService { mode }`)} }`],
      ['20 pages', `{ ${many(20, (n) => `a${n}: upscaleTasks { edges { node { id } } }`)} }`],
      ['20 directives', `{ ${many(20, (n) => `a${n}: __typename @skip(if: false)`)} }`],
      ['one mutation field', 'mutation { upscaleImage(input: {taskId: "x", imageIndex: 0}) { replayed } }'],
      [
        'a hundred tasks with everything',
        '{ upscaleTasks(first: 100) { edges { node { id source { id } images { url } problem { code } history { note } } } pageInfo { hasNextPage } } }',
      ],
      ['many levels of inline fragments, which are none', nested(20)],
    ]
    test.each(fits)('%s fit', async (_name, document) => {
      expect((await gateway.run(transport, document)).errors).toBeUndefined()
    })

    const exceeds: [string, string, RegExp][] = [
      ['31 aliases', `{ upscaleTask(id: "x") { ${many(31, (n) => `b${n}: id`)} } }`, /31 aliases/],
      [
        '31 aliases through fragments',
        `{ upscaleTask(id: "x") { ...A } } fragment A on UpscaleTask { ...B } fragment B on UpscaleTask { ${many(31, (n) => `b${n}: id`)} }`,
        /31 aliases/,
      ],
      [
        '16 aliases spread twice',
        `{ a: upscaleTask(id: "x") { ...A } b: upscaleTask(id: "y") { ...A } } fragment A on UpscaleTask { ${many(16, (n) => `b${n}: id`)} }`,
        /34 aliases/,
      ],
      ['21 root fields', `{ ${many(21, (n) => `a${n}: upscaleService { mode }`)} }`, /21 root fields/],
      [
        '21 root fields through a fragment',
        `{ ...A } fragment A on Query { ${many(21, (n) => `a${n}: upscaleService { mode }`)} }`,
        /21 root fields/,
      ],
      [
        'two mutation fields',
        'mutation { a: upscaleImage(input: {taskId: "x", imageIndex: 0}) { replayed } b: upscaleImage(input: {taskId: "y", imageIndex: 0}) { replayed } }',
        /2 mutation fields/,
      ],
      ['21 directives', `{ ${many(21, () => `__typename @skip(if: false)`)} }`, /21 directives/],
      [
        'ten pages of a hundred whose edges are not selected',
        `{ ${many(10, (n) => `a${n}: upscaleTasks(first: 100) { pageInfo { hasNextPage } }`)} }`,
        /costs 1010/,
      ],
      [
        'six lists of a hundred',
        `{ ${many(6, (n) => `a${n}: upscaleTasks(first: 100) { edges { node { id } } }`)} }`,
        /costs 1\d{3}/,
      ],
    ]
    test.each(exceeds)('%s are refused, and nothing of it is run', async (_name, document, message) => {
      const { data, errors = [] } = await gateway.run(transport, document)
      expect(data ?? null).toBeNull()
      expect(errors.length).toBeLessThanOrEqual(20)
      expect(errors.map((error) => error.message).join()).toMatch(message)
      for (const { extensions } of errors) expect(extensions.code).toBe('GRAPHQL_VALIDATION_FAILED')
    })

    test('a list is as long as its variable says', async () => {
      const document = `query ($first: Int) { ${many(6, (n) => `a${n}: upscaleTasks(first: $first) { edges { node { id } } }`)} }`
      expect((await gateway.run(transport, document, { first: 10 })).errors).toBeUndefined()
      expect((await gateway.run(transport, document, { first: 100 })).errors?.[0]?.message).toMatch(/costs/)
    })

    test('representations count as often as there are', async () => {
      const document = 'query ($r: [_Any!]!) { _entities(representations: $r) { __typename } }'
      const r = (count: number) =>
        Array.from({ length: count }, (_, n) => ({ __typename: 'UpscaleTask', id: `${n}` }))
      expect((await gateway.run(transport, document, { r: r(900) })).data).toMatchObject({
        _entities: Array(900).fill(null),
      })
      expect((await gateway.run(transport, document, { r: r(1_001) })).errors?.[0]?.message).toMatch(/costs/)
    })

    test('no more than 20 errors come back', async () => {
      const { errors } = await gateway.run(transport, `{ ${many(60, (n) => `nothing${n}`)} }`)
      expect(errors).toHaveLength(20)
    })

    test('fragments that spread one another by the thousand are measured at once', async () => {
      const fragments = many(60, (n) => `fragment F${n} on UpscaleTask { ...F${n + 1} ...F${n + 1} }`)
      const document = `{ upscaleTask(id: "x") { ...F0 } } ${fragments} fragment F60 on UpscaleTask { id }`
      const { data } = await gateway.run(transport, document)
      expect(data).toEqual({ upscaleTask: null })
    })
  })
})

describe('rates', () => {
  const input = (taskId: string, more: object = {}) => ({ input: { taskId, imageIndex: 0, ...more } })

  test('an owner may submit so many new tasks in so much time; replays cost nothing', async () => {
    await using gateway = await startGateway({ OWNER_RATE_LIMIT: '2/60s' })
    for (const id of ['a', 'b', 'a', 'b']) {
      const { data } = await gateway.run('HTTP', UpscaleImageDocument, input(id))
      expect(data?.upscaleImage?.problem).toBeNull()
    }
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, input('c', { idempotencyKey: 'key' }))
    expect(data?.upscaleImage).toMatchObject({
      task: null,
      replayed: false,
      problem: { code: 'RATE_LIMITED', retryable: true, taskId: null, upstreamCode: null },
    })
    const { retryAfterMs } = data?.upscaleImage?.problem ?? {}
    expect(retryAfterMs).toBeGreaterThan(0)
    expect(retryAfterMs).toBeLessThanOrEqual(60_000)
    const { data: listed } = await gateway.run<{ upscaleTasks: { edges: unknown[] } }, never>(
      'HTTP',
      '{ upscaleTasks { edges { cursor } } }',
    )
    expect(listed?.upscaleTasks.edges).toHaveLength(2)
  })

  test("the upstream's account has a rate of its own, and says what is left", async () => {
    await using gateway = await startGateway({ UPSTREAM_RATE_LIMIT: '3/600s' })
    const rate = async () =>
      (
        await gateway.run<{ upscaleService: { rate: object } }, never>(
          'WebSocket',
          '{ upscaleService { rate { limit remaining resetAt } } }',
        )
      ).data?.upscaleService.rate
    expect(await rate()).toEqual({ limit: 3, remaining: 3, resetAt: null })
    for (const id of ['a', 'b', 'c']) await gateway.run('HTTP', UpscaleImageDocument, input(id))
    expect(await rate()).toMatchObject({ limit: 3, remaining: 0, resetAt: expect.any(String) })
    const { data } = await gateway.run('WebSocket', UpscaleImageDocument, input('d'))
    expect(data?.upscaleImage).toMatchObject({
      task: null,
      problem: { code: 'UPSTREAM_RATE_LIMITED', upstreamCode: null },
    })
  })

  test('of 50 identical submits at once only the one that is new counts', async () => {
    await using gateway = await startGateway({ OWNER_RATE_LIMIT: '1/60s' })
    const all = await Promise.all(
      Array.from({ length: 50 }, () => gateway.run('HTTP', UpscaleImageDocument, input('same'))),
    )
    expect(all.filter(({ data }) => data?.upscaleImage?.task)).toHaveLength(50)
  })
})

describe('sockets', () => {
  const secret = 'a-secret-of-at-least-thirty-two-bytes'
  const tokenOf = (sub: string) =>
    new SignJWT({ sub })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime('5m')
      .sign(new TextEncoder().encode(secret))
  const open = async (url: string, sub: string) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, ['graphql-transport-ws'])
    await once(socket, 'open')
    const closed = once(socket, 'close').then(([code, reason]) => [code as number, String(reason)])
    socket.send(
      JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${await tokenOf(sub)}` } }),
    )
    const first = await Promise.race([once(socket, 'message').then(() => 'let in'), closed])
    return { socket, first, closed }
  }

  test('an owner may have so many; when one goes, another may come', async () => {
    await using gateway = await startGateway({ AUTH_JWT_SECRET: secret, OWNER_SOCKET_LIMIT: '2' })
    const first = await open(gateway.url, 'alice')
    await open(gateway.url, 'alice')
    expect((await open(gateway.url, 'alice')).first).toEqual([1013, 'TOO_MANY_SOCKETS'])
    expect((await open(gateway.url, 'bob')).first).toBe('let in')
    first.socket.close()
    await first.closed
    expect((await open(gateway.url, 'alice')).first).toBe('let in')
  })

  test('one may have so many operations running', async () => {
    await using gateway = await startGateway({ SOCKET_OPERATION_LIMIT: '2' })
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, {
      input: { taskId: 'sandbox-lost', imageIndex: 0 },
    })
    const id = data?.upscaleImage?.task?.id
    const { socket } = await open(gateway.url, 'anyone')
    const frames: string[] = []
    socket.on('message', (frame) => frames.push((frame as Buffer).toString()))
    for (const operation of ['1', '2', '3']) {
      const payload = { query: `subscription { taskUpdated(id: "${id}") { status } }` }
      socket.send(JSON.stringify({ id: operation, type: 'subscribe', payload }))
    }
    while (frames.length < 3) await once(socket, 'message')
    expect(frames.find((frame) => frame.includes('"id":"3"'))).toContain('TOO_MANY_OPERATIONS')
    socket.terminate()
  })

  test('on which nothing runs and from which nothing is heard for ten minutes are closed', async () => {
    const clock = new ManualClock()
    await using upstream = await startScriptedUpstream()
    upstream.onLookup = json(200, { code: 200, data: { successFlag: 0 } })
    await using gateway = await startGateway({ UPSTREAM_URL: upstream.url }, { clock })
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, {
      input: { taskId: 'running', imageIndex: 0 },
    })
    const [idle, pinging, following] = await Promise.all(['a', 'b', 'c'].map((sub) => open(gateway.url, sub)))
    if (!idle || !pinging || !following) throw new Error('Not open')
    const query = `subscription { taskUpdated(id: "${data?.upscaleImage?.task?.id}") { status } }`
    const shown = once(following.socket, 'message')
    following.socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }))
    await shown
    clock.advance(300_000)
    const ponged = once(pinging.socket, 'message')
    pinging.socket.send('{"type":"ping"}')
    await ponged
    clock.advance(300_000)
    expect(await idle.closed).toEqual([1000, 'Idle'])
    expect(pinging.socket.readyState).toBe(pinging.socket.OPEN)
    clock.advance(300_000)
    expect(await pinging.closed).toEqual([1000, 'Idle'])
    expect(following.socket.readyState).toBe(following.socket.OPEN)
    following.socket.terminate()
  })

  test('a page of another origin may not open one, unless it is allowed', async () => {
    const origin = 'https://app.example.com'
    for (const [settings, expected] of [
      [{}, 403],
      [{ CORS_ORIGINS: `https://other.example.com, ${origin}` }, 101],
    ] as const) {
      await using gateway = await startGateway(settings)
      const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/graphql`, ['graphql-transport-ws'], {
        origin,
      })
      const status = await new Promise<number>((resolve) => {
        socket.on('open', () => resolve(101))
        socket.on('error', ({ message }) => resolve(Number(/\d{3}/.exec(message)?.[0])))
      })
      expect(status).toBe(expected)
      socket.terminate()
      const { headers } = await fetch(`${gateway.url}/livez`, { headers: { origin } })
      expect(headers.get('access-control-allow-origin')).toBe(expected === 101 ? origin : null)
    }
  })
})

describe('without authentication on loopback', () => {
  test('only names that are ours are served, against DNS rebinding', async () => {
    await using gateway = await startGateway({ PUBLIC_URL: 'https://gateway.example.com' })
    const { port } = new URL(gateway.url)
    const ask = async (host: string) => {
      const socket: Socket = connect(Number(port), '127.0.0.1')
      let answer = ''
      socket.on('data', (chunk: Buffer) => (answer += chunk.toString()))
      socket.write(`GET /livez HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
      await once(socket, 'close')
      return answer.slice(9, 12)
    }
    for (const host of ['localhost', `localhost:${port}`, '127.0.0.1', '[::1]', 'gateway.example.com'])
      expect(await ask(host)).toBe('200')
    for (const host of ['evil.example', `evil.example:${port}`, 'localhost.evil.example'])
      expect(await ask(host)).toBe('403')
  })
})
