import { describe, expect, test } from '@jest/globals'
import { ADAPTERS } from '../../src/upstream/adapters.ts'
import type { WireAnswer } from '../../src/upstream/dialect.ts'
import { parseJson } from '../../src/upstream/json.ts'
import { createRandom } from '../support/random.ts'

const DIALECTS = Object.entries(ADAPTERS).map(
  ([name, { createDialect }]) => [name, createDialect({ model: null, factor: null })] as const,
)

const KEYS = [
  ...[
    'code',
    'msg',
    'data',
    'taskId',
    'task_id',
    'state',
    'resultJson',
    'failCode',
    'creditsConsumed',
    'param',
  ],
  ...['result', 'properties', 'status', 'imageUrl', 'id', 'description', 'resultUrls', 'resultUrl'],
  ...['job_id', 'output', 'image_url', 'image_urls', 'error', 'message', 'meta', 'usage', 'consume'],
  ...[
    'available_credits',
    'successFlag',
    'resultInfoJson',
    '__proto__',
    'constructor',
    'toString',
    'length',
    '',
  ],
]
const SCALARS = [
  ...[null, true, false, 0, 1, 3, 9, 21, 22, -1, 1.5, 200, 404, 422, 500, 1e308, -0, 2 ** 53],
  ...['', '1', '200', 'success', 'fail', 'SUCCESS', 'FAILURE', 'completed', 'failed', 'MODAL', 'pending'],
  ...[
    'https://cdn.example/a.png',
    'http://[',
    'ftp://x.example/',
    '{',
    '[]',
    '{"resultUrls":[]}',
    '\u0000',
    '\ud800',
  ],
]
const STATUSES = [0, 200, 201, 204, 302, 400, 401, 404, 422, 429, 500, 502, 503, 524]

function createJson(random: () => number, depth = 0): unknown {
  const pick = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)]
  const size = Math.floor(random() * 5)
  const kind = depth > 3 ? 0 : random()
  if (kind < 0.4) return pick(SCALARS)
  if (kind < 0.5) return Array.from({ length: size }, () => createJson(random, depth + 1))
  if (kind < 0.55) return JSON.stringify(createJson(random, depth + 1))
  const entries = Array.from({ length: size + 3 }, () => [pick(KEYS), createJson(random, depth + 1)] as const)
  return Object.fromEntries(entries)
}

describe.each(DIALECTS)('%s parses', (_name, dialect) => {
  const parseAll = (answer: WireAnswer) => {
    const submit = dialect.parseSubmit(answer)
    expect(['accepted', 'refused', 'unknown']).toContain(submit.kind)
    const poll = dialect.parsePoll(answer)
    expect(['succeeded', 'failed', 'pending', 'notFound', 'unavailable']).toContain(poll.kind)
    if (poll.kind === 'succeeded') expect(poll.imageUrls.length).toBeGreaterThan(0)
    const source = dialect.source.parse(answer)
    if (source !== null) expect(source.length).toBeGreaterThan(0)
    expect(dialect.credits?.parse(answer) ?? 0).not.toBeNaN()
    const callback = dialect.parseCallback(answer.body)
    if (callback !== undefined) expect(callback.upstreamTaskId).not.toBe('')
  }

  test('any JSON, with any status', () => {
    const random = createRandom(20)
    for (let n = 0; n < 1_500; n += 1) {
      const body = parseJson(JSON.stringify(createJson(random)))
      const status = STATUSES[n % STATUSES.length] ?? 0
      parseAll({ status, body, retryAfterMs: null })
    }
  })

  test('huge texts', () => {
    const huge = 'x'.repeat(300_000)
    const flat = Object.fromEntries(KEYS.map((key) => [key, huge]))
    const ended = { code: 200, status: 'completed', job_id: 'a', id: 'a', successFlag: 1, state: 'success' }
    for (const body of [
      huge,
      flat,
      { ...flat, ...ended },
      { ...flat, code: 200, data: { ...flat, ...ended } },
    ])
      parseAll({ status: 200, body, retryAfterMs: null })
  })

  test('deeply nested JSON', () => {
    for (const key of KEYS.filter((each) => each !== '__proto__')) {
      let nested: unknown = 'https://cdn.example/a.png'
      for (let depth = 0; depth < 20_000; depth += 1) nested = { [key]: nested }
      parseAll({ status: 200, body: nested, retryAfterMs: null })
      const list = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
      parseAll({ status: 200, body: { [key]: list, code: 200, status: 'SUCCESS' }, retryAfterMs: null })
    }
  })

  test.each([200, 400, 500, 502, 504, 520, 524, 0])(
    'no JSON with HTTP %i as an unknown outcome of a submit, and as no answer to a poll',
    (status) => {
      const answer = { status, body: undefined, retryAfterMs: null }
      expect(dialect.parseSubmit(answer)).toMatchObject({ kind: 'unknown' })
      expect(dialect.parsePoll(answer)).toEqual({ kind: 'unavailable' })
    },
  )
})
