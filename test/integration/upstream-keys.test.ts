/** Several keys of the paid API, while one is replaced. */
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { UpscaleImageDocument } from '../generated/operations.ts'
import { ManualClock } from '../support/clock.ts'
import { startGateway, type Gateway } from '../support/gateway.ts'
import {
  json,
  startScriptedUpstream,
  text,
  type Answer,
  type ScriptedUpstream,
} from '../support/scripted-upstream.ts'

const KEYS = ['first-key-of-the-account', 'second-key-of-the-account', 'third-key-of-the-account'] as const
const ACCEPTED = json(200, { code: 200, msg: 'success', data: { taskId: 'upstream-1' } })
const REFUSED = json(401, { code: 401, msg: 'You do not have access permissions', data: null })

let upstream: ScriptedUpstream
let gateway: Gateway
let clock: ManualClock
beforeEach(async () => {
  upstream = await startScriptedUpstream()
  clock = new ManualClock()
  gateway = await startGateway(
    {
      UPSTREAM_URL: upstream.url,
      UPSTREAM_API_KEY: KEYS.join(),
      AUTH_MODE: 'none',
      UPSTREAM_TIMEOUT_MS: '2000',
    },
    { clock },
  )
})
afterEach(async () => {
  await gateway[Symbol.asyncDispose]()
  await upstream[Symbol.asyncDispose]()
  for (const key of KEYS) expect(gateway.log()).not.toContain(key)
})

/** Answers by the position of the key, from 1; a missing one is accepted. */
const answerByKey =
  (answers: Readonly<Record<number, Answer>>): Answer =>
  (response, request) =>
    (answers[positionOf(request)] ?? ACCEPTED)(response, request)
const positionOf = ({ headers }: { readonly headers: { readonly authorization?: string | undefined } }) =>
  KEYS.findIndex((key) => headers.authorization === `Bearer ${key}`) + 1
/** The keys of the paid requests so far, in order. */
const paidWith = () => upstream.received.filter(({ method }) => method === 'POST').map(positionOf)
const switches = () =>
  gateway
    .log()
    .split('\n')
    .filter((line) => line.includes('refuses a key'))
    .map((line) => JSON.parse(line) as object)

async function submit() {
  const input = { taskId: 'source', imageIndex: 0, force: true }
  const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
  const { task, problem } = data?.upscaleImage ?? {}
  return [task?.status, problem?.code]
}

test('the first key is used while the upstream accepts it', async () => {
  for (let n = 0; n < 2; n += 1) expect(await submit()).toEqual(['PROCESSING', undefined])
  expect(paidWith()).toEqual([1, 1])
  expect(switches()).toEqual([])
})

test.each<[string, Answer]>([
  ['code 401', REFUSED],
  ['code 401 in an HTTP 200', json(200, { code: 401, msg: 'no', data: null })],
  ['HTTP 401 without JSON', text(401, 'Unauthorized')],
])('a key that is refused with %s is left, at once and for later requests', async (_name, refusal) => {
  upstream.onCreate = answerByKey({ 1: refusal })
  for (let n = 0; n < 2; n += 1) expect(await submit()).toEqual(['PROCESSING', undefined])
  expect(paidWith()).toEqual([1, 2, 2])
  expect(switches()).toEqual([expect.objectContaining({ engine: 'kie-midjourney', refused: 1, used: 2 })])
})

test('a key that works again is found once the others are refused', async () => {
  upstream.onCreate = answerByKey({ 1: REFUSED, 2: REFUSED })
  expect(await submit()).toEqual(['PROCESSING', undefined])
  upstream.onCreate = answerByKey({ 2: REFUSED, 3: REFUSED })
  expect(await submit()).toEqual(['PROCESSING', undefined])
  expect(paidWith()).toEqual([1, 2, 3, 3, 1])
})

test('if all keys are refused, so is the task, and nothing is switched', async () => {
  upstream.onCreate = REFUSED
  expect(await submit()).toEqual([undefined, 'UPSTREAM_UNAUTHORIZED'])
  expect(paidWith()).toEqual([1, 2, 3])
  expect(switches()).toEqual([])
})

test.each<[string, Answer, string | undefined, string | undefined]>([
  ['names a task', json(200, { code: 401, data: { taskId: 'a' } }), undefined, 'UPSTREAM_UNAUTHORIZED'],
  ['comes from a relay', json(502, { code: 401, data: null }), undefined, 'UPSTREAM_UNAUTHORIZED'],
  ['is a refusal by HTTP 403', text(403, 'Forbidden'), undefined, 'UPSTREAM_PROTOCOL_ERROR'],
  ['is an internal error', json(500, { error: 'key 401' }), 'SUBMITTED', undefined],
  ['is lost', (response) => response.destroy(), 'SUBMITTED', undefined],
  [
    'is cut off',
    (response) => response.writeHead(200, { 'content-length': 9 }).end('{"co'),
    'SUBMITTED',
    undefined,
  ],
])('an answer that %s sends the paid request with no other key', async (_name, answer, status, code) => {
  upstream.onCreate = answer
  expect(await submit()).toEqual([status, code])
  expect(paidWith()).toEqual([1])
})

test('a request whose key was refused late is not sent again: its answer could be lost', async () => {
  upstream.onCreate = (response, request) => {
    clock.advance(1_001)
    REFUSED(response, request)
  }
  expect(await submit()).toEqual([undefined, 'UPSTREAM_UNAUTHORIZED'])
  expect(paidWith()).toEqual([1])
})
