import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { expect, test } from '@jest/globals'
import { SignJWT } from 'jose'
import { WebSocket } from 'ws'
import { startProcess } from '../support/process.ts'
import { json, startScriptedUpstream, type Received } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'

const API_KEY = 'secret-api-key-0123456789'
const OLD_API_KEY = 'secret-old-api-key-0123456789'
const WEBHOOK_KEY = 'secret-webhook-key-0123456789'
const JWT_SECRET = 'secret-jwt-signing-key-0123456789abcdef'
const OLD_JWT_SECRET = 'secret-old-jwt-signing-key-0123456789abcdef'
const IDEMPOTENCY_KEY = 'secret-idempotency-key'

/** Everything a running service does with a secret, well and badly, while it logs all it can. */
test('no secret is in the debug log, in any answer, or in the database', async () => {
  await using dir = await openTempDir()
  await using upstream = await startScriptedUpstream()
  await using service = await startProcess({
    LOG_LEVEL: 'debug',
    DATABASE_URL: `file:${dir.path}/t.db`,
    UPSTREAM_URL: upstream.url,
    UPSTREAM_API_KEY: `${API_KEY},${OLD_API_KEY}`,
    UPSTREAM_WEBHOOK_KEYS: WEBHOOK_KEY,
    AUTH_JWT_SECRET: `${JWT_SECRET},${OLD_JWT_SECRET}`,
    PUBLIC_URL: 'http://127.0.0.1:1',
    POLL_INTERVAL_MS: '50',
  })
  const answers: string[] = []
  const token = await new SignJWT({ sub: 'alice' })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('5m')
    .sign(new TextEncoder().encode(JWT_SECRET))
  const graphql = async (query: string, authorization: string) => {
    const headers = { 'content-type': 'application/json', authorization, cookie: `session=${token}` }
    const body = JSON.stringify({ query })
    const answer = await fetch(`${service.url}/graphql`, { method: 'POST', headers, body })
    answers.push(await answer.text())
  }
  const upscale = (taskId: string) =>
    `mutation { upscaleImage(input: {taskId: "${taskId}", imageIndex: 0, idempotencyKey: "${IDEMPOTENCY_KEY}${taskId}"}) { task { id } problem { code message } } }`
  const callBackUrls = () =>
    upstream.received
      .filter(({ method }) => method === 'POST')
      .map(({ body }) => (JSON.parse(body) as { callBackUrl: string }).callBackUrl)

  // The vendor quotes what it was sent, wherever it can.
  const quote = () => ({
    msg: `key ${API_KEY} or ${OLD_API_KEY}, url ${callBackUrls().join()}`,
    paramJson: JSON.stringify({ callBackUrl: callBackUrls().at(-1), key: API_KEY }),
  })
  await graphql(upscale('accepted'), `Bearer ${token}`)
  upstream.onCreate = (response, request) => {
    json(200, { code: 422, ...quote(), data: quote() })(response, request)
  }
  await graphql(upscale('refused'), `Bearer ${token}`)
  upstream.onCreate = (response) => response.end(`<html>${quote().msg}</html>`)
  await graphql(upscale('html'), `Bearer ${token}`)
  upstream.onCreate = (response) => response.destroy()
  await graphql(upscale('lost'), `Bearer ${token}`)
  await graphql('{ nonsense', `Bearer ${token}`)
  await graphql('{ upscaleTasks { edges { node { id history { note } } } } }', `Bearer ${token}x`)

  const socket = new WebSocket(`${service.url.replace('http', 'ws')}/graphql`, ['graphql-transport-ws'])
  await once(socket, 'open')
  socket.on('message', (frame) => answers.push((frame as Buffer).toString()))
  socket.send(
    JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${token}`, token } }),
  )
  await once(socket, 'message')
  socket.send(JSON.stringify({ type: 'ping', payload: { authorization: `Bearer ${token}x` } }))
  await once(socket, 'close')

  // Polls that quote, then callbacks: wrong in every way, and right.
  const asked = Promise.withResolvers<void>()
  upstream.onLookup = (response, request) => {
    json(200, { code: 200, ...quote(), data: { successFlag: 0, ...quote() } })(response, request)
    asked.resolve()
  }
  await asked.promise
  const timestamp = String(Math.floor(Date.now() / 1_000))
  const signature = createHmac('sha256', WEBHOOK_KEY).update(`upstream-1.${timestamp}`).digest('base64')
  for (const url of callBackUrls())
    for (const [path, sign] of [
      [`${new URL(url).pathname}x`, signature],
      [new URL(url).pathname, `${signature}x`],
      [new URL(url).pathname, signature],
    ] as const)
      for (const body of [
        'nonsense',
        JSON.stringify({ code: 500, ...quote(), data: { taskId: 'upstream-1', promptJson: quote() } }),
      ]) {
        const headers = { 'x-webhook-timestamp': timestamp, 'x-webhook-signature': sign }
        const answer = await fetch(service.url + path, { method: 'POST', body, headers })
        answers.push(await answer.text())
      }
  service.child.kill('SIGTERM')
  await service.exited

  const tokens = callBackUrls().map((url) => url.split('/').at(-1) ?? url)
  expect(tokens).toHaveLength(4)
  const places = {
    log: service.output(),
    answers: answers.join(),
    database: await readFile(`${dir.path}/t.db`, 'latin1'),
  }
  expect(places.log).toContain('the upstream did not accept')
  expect(places.log).toContain('a task changed')
  for (const [place, text] of Object.entries(places))
    for (const secret of [
      ...[API_KEY, OLD_API_KEY, WEBHOOK_KEY, JWT_SECRET, OLD_JWT_SECRET, IDEMPOTENCY_KEY],
      ...[token, signature, ...tokens],
    ])
      expect([place, secret, text.includes(secret)]).toEqual([place, secret, false])
})

const ENGINE_KEYS = {
  first: 'secret-key-of-kie-midjourney',
  jobs: 'secret-key-of-kie-jobs',
  proxy: 'secret-key-of-midjourney-proxy',
  next: 'secret-key-of-legnext',
}

test('no key of an engine is in the debug log, in any answer, or in the database', async () => {
  await using dir = await openTempDir()
  await using upstream = await startScriptedUpstream()
  const keys = Object.values(ENGINE_KEYS)
  const { url } = upstream
  await using service = await startProcess({
    LOG_LEVEL: 'debug',
    DATABASE_URL: `file:${dir.path}/t.db`,
    ENGINES: `first=kie-midjourney:${url},jobs=kie-jobs:${url},proxy=midjourney-proxy:${url},next=legnext:${url}`,
    ENGINE_KEYS: Object.entries(ENGINE_KEYS)
      .map(([name, key]) => `${name}=${key}`)
      .join(),
    AUTH_MODE: 'none',
    METRICS_PORT: '0',
    PUBLIC_URL: 'http://127.0.0.1:1',
    POLL_INTERVAL_MS: '50',
    OWNER_RATE_LIMIT: '0',
    UPSTREAM_RATE_LIMIT: '0',
  })
  /** Quotes the key that the request has, where any of the dialects has its message. */
  const toQuote = ({ headers }: Received) => {
    const said = keys.filter((key) => JSON.stringify(headers).includes(key)).join()
    return { msg: said, message: said, description: said, error: { message: said, raw_message: said } }
  }
  const source = {
    successFlag: 1,
    resultInfoJson: { resultUrls: [{ resultUrl: 'https://example.com/a.png' }] },
  }
  const answers: string[] = []
  const graphql = async (query: string) => {
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`${service.url}/graphql`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ query }),
    })
    answers.push(await answer.text())
  }
  let count = 0
  const upscale = (engine: string) =>
    graphql(
      `mutation { upscaleImage(input: { taskId: "source-${(count += 1)}", imageIndex: 0, engine: "${engine}" }) {
        task { id history { note } } problem { code message } } }`,
    )
  const accepted = { data: { taskId: 'job' }, result: 'job', job_id: 'job' }
  upstream.onLookup = json(200, { code: 200, data: source })
  for (const [status, body] of [
    [200, { code: 422 }],
    [200, { code: 4 }],
    [422, { code: 422 }],
    [500, {}],
    [200, { ...accepted, code: 200 }],
    [200, { ...accepted, code: 1 }],
  ] as const) {
    upstream.onCreate = (response, request) => {
      json(status, { ...body, ...toQuote(request) })(response, request)
    }
    for (const engine of Object.keys(ENGINE_KEYS)) await upscale(engine)
  }
  const polled = Promise.withResolvers<void>()
  upstream.onLookup = (response, request) => {
    const quote = toQuote(request)
    json(200, { code: 500, ...quote, data: quote })(response, request)
    if (request.path.includes('job')) polled.resolve()
  }
  await graphql('{ upscaleService { credits engines { name credits } } }')
  await graphql('{ upscaleTasks { edges { node { id history { note } problem { message } } } } }')
  await polled.promise
  const metricsUrl = /Metrics at (http:\/\/[\d.:]+)/.exec(service.output())?.[1]
  const metrics = await (await fetch(`${metricsUrl}/metrics`)).text()
  expect(metrics).toContain('upscale_upstream_seconds_count')
  answers.push(metrics)
  service.child.kill('SIGTERM')
  await service.exited

  for (const [name, header] of [
    ['first', 'authorization'],
    ['jobs', 'authorization'],
    ['proxy', 'mj-api-secret'],
    ['next', 'x-api-key'],
  ] as const)
    expect(upstream.received.some(({ headers }) => headers[header]?.includes(ENGINE_KEYS[name]))).toBe(true)
  expect(service.output()).toContain('[redacted]')
  const places = {
    log: service.output(),
    answers: answers.join(),
    database: await readFile(`${dir.path}/t.db`, 'latin1'),
  }
  expect(places.log).toContain('the upstream did not accept')
  for (const [place, text] of Object.entries(places))
    for (const key of keys) expect([place, key, text.includes(key)]).toEqual([place, key, false])
})
