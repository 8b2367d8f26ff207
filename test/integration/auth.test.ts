import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { createClient } from 'graphql-ws'
import { print } from 'graphql'
import { exportSPKI, generateKeyPair, SignJWT } from 'jose'
import { WebSocket } from 'ws'
import { FollowTaskDocument, UpscaleImageDocument } from '../generated/operations.ts'
import { ManualClock } from '../support/clock.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import { startScriptedUpstream, json, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { AUDIENCE, ISSUER, startIdentityProvider, type IdentityProvider } from '../support/tokens.ts'

/** A socket after its first frame: how it was closed, or that it was let in. */
async function connectSocket(url: string, payload?: object, headers: Record<string, string> = {}) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, ['graphql-transport-ws'], { headers })
  await once(socket, 'open')
  socket.send(JSON.stringify({ type: 'connection_init', ...(payload && { payload }) }))
  const closed = once(socket, 'close').then(([code, reason]) => [code as number, String(reason)] as const)
  const first = await Promise.race([once(socket, 'message').then(() => 'let in' as const), closed])
  return { socket, first, closed, [Symbol.dispose]: () => socket.terminate() }
}

async function post(url: string, query: string, authorization?: string, variables: object = {}) {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(authorization && { authorization }) },
    body: JSON.stringify({ query, variables }),
  })
  const body = (await response.json()) as { data?: never; errors?: { extensions: Record<string, unknown> }[] }
  return { status: response.status, headers: response.headers, ...body }
}

const UPSCALE = 'mutation { upscaleImage(input: {taskId: "x", imageIndex: 0, force: true}) { task { id } } }'

describe('with AUTH_JWKS_URL', () => {
  let provider: IdentityProvider
  let upstream: ScriptedUpstream
  let gateway: Gateway
  beforeAll(async () => {
    provider = await startIdentityProvider()
    upstream = await startScriptedUpstream()
    gateway = await startGateway({
      UPSTREAM_URL: upstream.url,
      AUTH_JWKS_URL: provider.jwksUrl,
      AUTH_ISSUER: ISSUER,
      AUTH_AUDIENCE: AUDIENCE,
    })
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
    await upstream[Symbol.asyncDispose]()
    await provider[Symbol.asyncDispose]()
  })

  const BAD: [string, string, () => Promise<string | undefined>][] = [
    ['none', 'missing_token', () => Promise.resolve(undefined)],
    ['garbage', 'malformed', () => Promise.resolve('Bearer garbage')],
    ['another scheme', 'malformed', () => Promise.resolve('Basic dXNlcjpwYXNz')],
    [
      'alg none',
      'bad_algorithm',
      () => {
        const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
        const claims = { sub: 'alice', iss: ISSUER, aud: AUDIENCE, exp: 9_999_999_999 }
        return Promise.resolve(`Bearer ${part({ alg: 'none', kid: 'key-1' })}.${part(claims)}.`)
      },
    ],
    [
      'algorithm confusion: the public key used as a secret',
      'bad_algorithm',
      async () => {
        const { publicKey } = await generateKeyPair('ES256', { extractable: true })
        const secret = new TextEncoder().encode(await exportSPKI(publicKey))
        const token = await new SignJWT({ sub: 'alice', iss: ISSUER, aud: AUDIENCE })
          .setProtectedHeader({ alg: 'HS256', kid: 'key-1' })
          .setExpirationTime('10m')
          .sign(secret)
        return `Bearer ${token}`
      },
    ],
    [
      'another key',
      'bad_signature',
      async () =>
        `Bearer ${await provider.sign('alice', { key: (await generateKeyPair('ES256')).privateKey })}`,
    ],
    ['expired', 'expired', async () => `Bearer ${await provider.sign('alice', { expiresInS: -10 })}`],
    [
      'not yet valid',
      'not_yet_valid',
      async () => `Bearer ${await provider.sign('alice', { claims: { nbf: Date.now() / 1_000 + 60 } })}`,
    ],
    [
      'no subject',
      'missing_subject',
      async () => `Bearer ${await provider.sign('alice', { claims: { sub: undefined } })}`,
    ],
    ['an empty subject', 'missing_subject', async () => `Bearer ${await provider.sign('')}`],
    [
      'wrong issuer',
      'wrong_issuer',
      async () => `Bearer ${await provider.sign('alice', { claims: { iss: 'https://evil.example' } })}`,
    ],
    [
      'wrong audience',
      'wrong_audience',
      async () => `Bearer ${await provider.sign('alice', { claims: { aud: 'another' } })}`,
    ],
    [
      'oversized',
      'too_long',
      async () => `Bearer ${await provider.sign('alice', { claims: { pad: 'x'.repeat(9_000) } })}`,
    ],
    [
      'an unknown key',
      'unknown_key',
      async () => `Bearer ${await provider.sign('alice', { kid: 'another' })}`,
    ],
    [
      'no issuer',
      'wrong_issuer',
      async () => `Bearer ${await provider.sign('alice', { claims: { iss: undefined } })}`,
    ],
    [
      'an expiry that is no number',
      'malformed',
      async () => `Bearer ${await provider.sign('alice', { claims: { exp: 'x' } })}`,
    ],
    [
      'a subject that is no text',
      'bad_subject',
      async () => `Bearer ${await provider.sign('alice', { claims: { sub: 7 } })}`,
    ],
    [
      'a subject with an unpaired surrogate',
      'bad_subject',
      async () => `Bearer ${await provider.sign('a\ud800')}`,
    ],
    [
      'a subject with its halves in the wrong order',
      'bad_subject',
      async () => `Bearer ${await provider.sign('\udc00\ud800')}`,
    ],
    ['a subject with a NUL', 'bad_subject', async () => `Bearer ${await provider.sign('alice\0')}`],
    [
      'a subject too long for an index',
      'bad_subject',
      async () => `Bearer ${await provider.sign('ä'.repeat(513))}`,
    ],
  ]

  /** How many refusals have been counted for a reason. */
  const countRefusals = async (reason: string) => {
    const text = await (await fetch(`${gateway.url}/metrics`)).text()
    return Number(
      new RegExp(`^upscale_auth_refusals_total\\{reason="${reason}"\\} (\\d+)$`, 'm').exec(text)?.[1] ?? 0,
    )
  }

  test.each(BAD)(
    'a bad token is UNAUTHENTICATED on both transports, counted and logged with its reason, and nothing reaches the upstream: %s (%s)',
    async (_name, reason, make) => {
      const authorization = await make()
      upstream.received.length = 0
      const before = await countRefusals(reason)
      const { status, headers, data, errors } = await post(gateway.url, UPSCALE, authorization)
      expect({ status, data, code: errors?.[0]?.extensions.code }).toEqual({
        status: 401,
        data: undefined,
        code: 'UNAUTHENTICATED',
      })
      expect(headers.get('www-authenticate')).toBe('Bearer')
      const correlationId = errors?.[0]?.extensions.correlationId
      const line =
        gateway
          .log()
          .split('\n')
          .find((each) => each.includes(String(correlationId))) ?? '{}'
      expect(JSON.parse(line)).toMatchObject({ level: 30, credential: 'bearer', reason })
      using byPayload = await connectSocket(
        gateway.url,
        authorization === undefined ? undefined : { Authorization: authorization },
      )
      expect(byPayload.first).toEqual([4401, 'UNAUTHENTICATED'])
      if (authorization !== undefined) {
        using byHeader = await connectSocket(gateway.url, undefined, { authorization })
        expect(byHeader.first).toEqual([4401, 'UNAUTHENTICATED'])
      }
      expect(upstream.received).toHaveLength(0)
      expect(await countRefusals(reason)).toBe(before + (authorization === undefined ? 2 : 3))
      const secret = authorization?.split(' ')[1]
      if (secret !== undefined && secret.length > 10) expect(gateway.log()).not.toContain(secret)
    },
  )

  test('subjects that only look the same own different tasks', async () => {
    const own = async (sub: string) => {
      const authorization = `Bearer ${await provider.sign(sub)}`
      await post(gateway.url, UPSCALE, authorization)
      const { data } = await post(gateway.url, '{ upscaleTasks { edges { node { id } } } }', authorization)
      return (data as unknown as { upscaleTasks: { edges: { node: { id: string } }[] } }).upscaleTasks.edges
    }
    const longest = 'ä'.repeat(512)
    const lists = []
    for (const sub of ['é', 'e\u0301', ' é', 'É', '\ufffd', '\u{1f600}', longest, `${longest.slice(1)}b`])
      lists.push(await own(sub))
    expect(lists.map(({ length }) => length)).toEqual(lists.map(() => 1))
  })

  test('a flood of bad tokens is counted in full, and logged in part', async () => {
    const before = await countRefusals('malformed')
    const lines = () => gateway.log().split('"reason":"malformed"').length
    const logged = lines()
    await Promise.all(Array.from({ length: 200 }, () => post(gateway.url, UPSCALE, 'Bearer flood')))
    expect(await countRefusals('malformed')).toBe(before + 200)
    expect(lines() - logged).toBeLessThan(200)
  })

  test('a token without exp is accepted, and warned about once', async () => {
    const endless = `Bearer ${await provider.sign('alice', { claims: { exp: undefined } })}`
    for (let n = 0; n < 3; n += 1)
      expect(await post(gateway.url, '{ __typename }', endless)).toMatchObject({ status: 200 })
    expect(gateway.log().split('without exp')).toHaveLength(2)
  })

  test('a good token is let in by header, by either spelling in connection_init, and by the upgrade request', async () => {
    const authorization = `Bearer ${await provider.sign('alice')}`
    expect(await post(gateway.url, '{ __typename }', authorization)).toMatchObject({ status: 200 })
    for (const [payload, headers] of [
      [{ Authorization: authorization }, {}],
      [{ authorization }, {}],
      [undefined, { authorization }],
    ] as const) {
      using connection = await connectSocket(gateway.url, payload, headers)
      expect(connection.first).toBe('let in')
    }
  })

  test('only the scope upscale:operate sees the credits', async () => {
    upstream.onLookup = json(200, { code: 200, msg: 'success', data: 77.5 })
    const ask = async (claims: object) =>
      post(
        gateway.url,
        '{ upscaleService { mode credits } }',
        `Bearer ${await provider.sign('alice', { claims: { ...claims } })}`,
      )
    expect(await ask({})).toMatchObject({
      data: { upscaleService: { mode: 'SANDBOX', credits: null } },
      errors: [{ path: ['upscaleService', 'credits'], extensions: { code: 'FORBIDDEN' } }],
    })
    for (const claims of [{ scope: 'a upscale:operate b' }, { scp: ['upscale:operate'] }])
      expect(await ask(claims)).toMatchObject({ data: { upscaleService: { credits: 77.5 } } })
    expect(upstream.received.filter(({ path }) => path === '/api/v1/chat/credit')).toHaveLength(1)
  })

  test("two owners cannot see, replay, resolve or follow each other's tasks", async () => {
    const [alice, bob] = [`Bearer ${await provider.sign('alice')}`, `Bearer ${await provider.sign('bob')}`]
    const input = { taskId: 'shared', imageIndex: 0, idempotencyKey: 'key' }
    const submit = (who: string, changes = {}) =>
      post(gateway.url, print(UpscaleImageDocument), who, { input: { ...input, ...changes } }) as Promise<{
        data?: { upscaleImage: { replayed: boolean; task: { id: string } } }
      }>
    const first = await submit(alice)
    const id = first.data?.upscaleImage.task.id ?? ''
    // The same key and the same picture of another owner are another task, paid for by themselves.
    const second = await submit(bob)
    expect(second).toMatchObject({ data: { upscaleImage: { replayed: false } } })
    expect(second.data?.upscaleImage.task.id).not.toBe(id)
    expect(await submit(alice)).toMatchObject({ data: { upscaleImage: { replayed: true, task: { id } } } })

    const queries = [
      ['query ($id: ID!) { upscaleTask(id: $id) { id } }', { upscaleTask: null }],
      [
        '{ upscaleTasks { edges { node { id } } } }',
        { upscaleTasks: { edges: [{ node: second.data?.upscaleImage.task }] } },
      ],
    ] as const
    const mine = (data: unknown) =>
      JSON.parse(JSON.stringify(data), (key, value: unknown) =>
        key === 'node' ? { id: (value as { id: string }).id } : value,
      ) as object
    for (const [query, expected] of queries) {
      const { data, errors } = await post(gateway.url, query, bob, query.includes('$id') ? { id } : {})
      expect({ data: data, errors }).toEqual({ data: mine(expected), errors: undefined })
    }
    const representations = [
      { __typename: 'UpscaleTask', id },
      { __typename: 'UpscaleTask', id: second.data?.upscaleImage.task.id },
    ]
    const entities =
      'query ($representations: [_Any!]!) { _entities(representations: $representations) { ... on UpscaleTask { id } } }'
    const { data } = await post(gateway.url, entities, bob, { representations })
    expect(data as unknown).toEqual({ _entities: [null, { id: second.data?.upscaleImage.task.id }] })

    const client = createClient({
      url: `${gateway.url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      connectionParams: { authorization: bob },
    })
    const events = []
    for await (const event of client.iterate({ query: print(FollowTaskDocument), variables: { id } }))
      events.push(event)
    expect(events).toMatchObject([
      { data: { taskUpdated: null }, errors: [{ extensions: { code: 'TASK_NOT_FOUND' } }] },
    ])
    await client.dispose()
  })

  /** A gateway on a clock that starts at the present, by which tokens are verified, and then stands still. */
  async function startOnClock() {
    const clock = new ManualClock()
    clock.advance(Date.now() - clock.now())
    const settings = {
      UPSTREAM_URL: upstream.url,
      AUTH_JWKS_URL: provider.jwksUrl,
      AUTH_ISSUER: ISSUER,
      AUTH_AUDIENCE: AUDIENCE,
    }
    return { clock, gateway: await startGateway(settings, { clock }) }
  }

  test('a socket is closed with 4403 when its token expires, after a last state', async () => {
    const { clock, gateway } = await startOnClock()
    await using _ = gateway
    const authorization = `Bearer ${await provider.sign('alice', { expiresInS: 60 })}`
    const { data } = (await post(gateway.url, UPSCALE, authorization)) as {
      data?: { upscaleImage: { task: { id: string } } }
    }
    using connection = await connectSocket(gateway.url, { authorization })
    const versions: unknown[] = []
    connection.socket.on('message', (frame) => versions.push((frame as Buffer).toString()))
    const payload = { query: print(FollowTaskDocument), variables: { id: data?.upscaleImage.task.id } }
    connection.socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload }))
    await once(connection.socket, 'message')
    clock.advance(61_000)
    await once(connection.socket, 'message')
    clock.advance(500)
    expect(await connection.closed).toEqual([4403, 'TOKEN_EXPIRED'])
    expect(versions).toHaveLength(2)
    for (const frame of versions) expect(frame).toContain('"status":"PROCESSING"')
  })

  test('a ping with a new token extends the session; one with a bad token, or of another owner, ends it', async () => {
    const { clock, gateway } = await startOnClock()
    await using _ = gateway
    const short = `Bearer ${await provider.sign('alice', { expiresInS: 60 })}`
    const long = `Bearer ${await provider.sign('alice')}`
    using extended = await connectSocket(gateway.url, { authorization: short })
    using left = await connectSocket(gateway.url, { authorization: short })
    extended.socket.send(JSON.stringify({ type: 'ping', payload: { Authorization: long } }))
    expect(String((await once(extended.socket, 'message'))[0])).toContain('pong')
    clock.advance(61_000)
    expect((await left.closed)[0]).toBe(4403)
    expect(extended.socket.readyState).toBe(extended.socket.OPEN)
    for (const authorization of ['Bearer nonsense', `Bearer ${await provider.sign('bob')}`]) {
      using connection = await connectSocket(gateway.url, { authorization: long })
      connection.socket.send(JSON.stringify({ type: 'ping', payload: { authorization } }))
      expect(await connection.closed).toEqual([4401, 'UNAUTHENTICATED'])
    }
  })
})

test('after a key rotation new tokens are good, and old ones are not any more', async () => {
  await using provider = await startIdentityProvider()
  await using gateway = await startGateway({ AUTH_JWKS_URL: provider.jwksUrl })
  const old = `Bearer ${await provider.sign('alice')}`
  expect(await post(gateway.url, '{ __typename }', old)).toMatchObject({ status: 200 })
  await provider.rotate()
  const fresh = `Bearer ${await provider.sign('alice')}`
  // The set is fetched again, but not more often than the cool-down of a second allows.
  for (let status = 401; status !== 200;) status = (await post(gateway.url, '{ __typename }', fresh)).status
  expect(await post(gateway.url, '{ __typename }', old)).toMatchObject({ status: 401 })
})

test('while the keys cannot be fetched nobody is let in, and told to come again', async () => {
  await using provider = await startIdentityProvider()
  provider.status = 500
  await using gateway = await startGateway({ AUTH_JWKS_URL: provider.jwksUrl })
  const authorization = `Bearer ${await provider.sign('alice')}`
  expect(await post(gateway.url, UPSCALE, authorization)).toMatchObject({
    status: 503,
    errors: [{ extensions: { code: 'AUTH_UNAVAILABLE', retryable: true, retryAfterMs: 5_000 } }],
  })
  using connection = await connectSocket(gateway.url, { authorization })
  expect(connection.first).toEqual([1013, 'AUTH_UNAVAILABLE'])
  const lines = gateway
    .log()
    .split('\n')
    .filter((line) => line.includes('AUTH_JWKS_URL'))
  expect(lines).toHaveLength(2)
  for (const line of lines)
    expect(JSON.parse(line)).toMatchObject({
      level: 40,
      reason: 'keys_unavailable',
      host: new URL(provider.jwksUrl).host,
      cause: expect.stringMatching(/status 5\d\d/),
    })
})

test.each([
  ['no JSON', '<html>'],
  ['no key set', '{"keys":"none"}'],
  ['a key that is none', '{"keys":[{"kty":"EC","crv":"P-256","kid":"key-1","x":"AA","y":"AA"}]}'],
  ['a key without its parts', '{"keys":[{"kty":"EC","crv":"P-256","kid":"key-1"}]}'],
])(
  'a key set with %s means on both transports that tokens cannot be verified, and is logged',
  async (_name, body) => {
    await using provider = await startIdentityProvider()
    provider.body = body
    await using gateway = await startGateway({ AUTH_JWKS_URL: provider.jwksUrl })
    const authorization = `Bearer ${await provider.sign('alice')}`
    expect(await post(gateway.url, UPSCALE, authorization)).toMatchObject({ status: 503 })
    using connection = await connectSocket(gateway.url, { authorization })
    expect(connection.first).toEqual([1013, 'AUTH_UNAVAILABLE'])
    const lines = gateway
      .log()
      .split('\n')
      .filter((line) => line.includes('keys_unavailable'))
    expect(lines).toHaveLength(2)
    for (const line of lines) expect(JSON.parse(line)).toMatchObject({ cause: expect.stringMatching(/./) })
  },
)

test('why the keys cannot be fetched is logged: the address and the cause', async () => {
  const provider = await startIdentityProvider()
  const authorization = `Bearer ${await provider.sign('alice')}`
  await provider[Symbol.asyncDispose]()
  await using gateway = await startGateway({ AUTH_JWKS_URL: provider.jwksUrl })
  expect(await post(gateway.url, UPSCALE, authorization)).toMatchObject({ status: 503 })
  expect(gateway.log()).toMatch(/"cause":"fetch failed: connect ECONNREFUSED 127\.0\.0\.1:\d+"/)
})

test('while an HS256 secret is replaced, tokens of both are accepted, and others are refused with their reason', async () => {
  const [first, second, other] = ['new', 'old', 'other'].map((name) => name.padEnd(32, '-'))
  await using gateway = await startGateway({ AUTH_JWT_SECRET: `${first},${second}` })
  const tryToken = async (secret = '', expiry = '5m', alg = 'HS256') => {
    const signer = new SignJWT({ sub: 'alice' }).setProtectedHeader({ alg }).setExpirationTime(expiry)
    const token = await signer.sign(new TextEncoder().encode(secret))
    return (await post(gateway.url, '{ __typename }', `Bearer ${token}`)).status
  }
  const reasons = () => [...gateway.log().matchAll(/"reason":"(\w+)"/g)].map(([, reason]) => reason)
  for (const secret of [first, second]) expect(await tryToken(secret)).toBe(200)
  expect(reasons()).toEqual([])
  for (const secret of [first, second]) expect(await tryToken(secret, '1 minute ago')).toBe(401)
  expect(reasons()).toEqual(['expired', 'expired'])
  expect(await tryToken(other)).toBe(401)
  expect(await tryToken(second?.repeat(2), '5m', 'HS512')).toBe(401)
  expect(reasons().slice(2)).toEqual(['bad_signature', 'bad_algorithm'])
  for (const secret of [first, second]) expect(gateway.log()).not.toContain(secret)
})

test('an HS256 secret serves small installations, and only for HS256', async () => {
  const secret = 'a-secret-of-at-least-thirty-two-bytes'
  await using gateway = await startGateway({ AUTH_JWT_SECRET: secret, AUTH_MODE: 'jwt' })
  const sign = (alg: string) =>
    new SignJWT({ sub: 'alice' })
      .setProtectedHeader({ alg })
      .setExpirationTime('5m')
      .sign(new TextEncoder().encode(secret.repeat(2).slice(0, alg === 'HS256' ? secret.length : 64)))
  expect(await post(gateway.url, '{ __typename }', `Bearer ${await sign('HS256')}`)).toMatchObject({
    status: 200,
  })
  expect(await post(gateway.url, '{ __typename }', `Bearer ${await sign('HS512')}`)).toMatchObject({
    status: 401,
  })
  expect(gateway.log()).not.toContain(secret)
})
