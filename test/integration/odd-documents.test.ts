import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { WebSocket } from 'ws'
import { startScriptedRouter } from '../support/router.ts'
import { openScene } from '../support/scene.ts'

interface Failure {
  readonly message: string
  readonly extensions: { readonly code: string; readonly field?: string }
}
interface Answer {
  readonly data?: unknown
  readonly errors?: readonly Failure[]
}
type Variables = Record<string, unknown> | string

type Scene = Awaited<ReturnType<typeof openScene>>

/**
 * A request with variables that may be JSON text: JavaScript's own objects cannot hold a key `__proto__`, or
 * nest without end.
 */
const toBody = (query: string, variables: Variables) =>
  `{"query":${JSON.stringify(query)},"variables":${typeof variables === 'string' ? variables : JSON.stringify(variables)}}`

const JSON_TYPE = { 'content-type': 'application/json' }

/** What each transport answers first, as text. */
const TRANSPORTS = {
  async HTTP({ gateway }: Scene, query: string, variables: Variables): Promise<string> {
    const body = toBody(query, variables)
    return (await fetch(`${gateway.url}/graphql`, { method: 'POST', headers: JSON_TYPE, body })).text()
  },
  async SSE({ gateway }: Scene, query: string, variables: Variables): Promise<string> {
    const gone = new AbortController()
    const response = await fetch(`${gateway.url}/graphql/stream`, {
      method: 'POST',
      headers: { ...JSON_TYPE, accept: 'text/event-stream' },
      body: toBody(query, variables),
      signal: gone.signal,
    })
    let text = ''
    for await (const chunk of response.body ?? []) {
      text += Buffer.from(chunk).toString()
      if (/^data: .+\n\n/m.test(text)) break
    }
    gone.abort()
    return /^data: (.+)$/m.exec(text)?.[1] ?? text
  },
  async WebSocket({ gateway }: Scene, query: string, variables: Variables): Promise<string> {
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/graphql`, ['graphql-transport-ws'])
    const { promise, resolve } = Promise.withResolvers<string>()
    socket.on('open', () => socket.send('{"type":"connection_init"}'))
    socket.on('message', (data) => {
      const text = (data as Buffer).toString()
      if (text.startsWith('{"type":"connection_ack"'))
        socket.send(`{"id":"1","type":"subscribe","payload":${toBody(query, variables)}}`)
      else {
        const { type } = JSON.parse(text) as { type: string }
        const payload = text.slice(text.indexOf('"payload":') + '"payload":'.length, -1)
        resolve(type === 'error' ? `{"errors":${payload}}` : payload)
      }
    })
    socket.on('close', (code, reason) => resolve(`closed with ${code} ${String(reason)}`))
    const answer = await promise
    socket.terminate()
    return answer
  },
}
const NAMES = Object.keys(TRANSPORTS) as (keyof typeof TRANSPORTS)[]

let scene: Scene
beforeAll(async () => {
  scene = await openScene()
})
afterAll(() => scene[Symbol.asyncDispose]())

/**
 * Asks on every transport. None may fail unexpectedly, and what is refused is refused with the same codes.
 */
async function askAll(query: string, variables: Variables = {}): Promise<Answer[]> {
  const texts = await Promise.all(NAMES.map((name) => TRANSPORTS[name](scene, query, variables)))
  const answers = texts.map((text) => JSON.parse(text) as Answer)
  for (const text of texts) expect(text).not.toContain('INTERNAL_SERVER_ERROR')
  return answers
}
const codes = (answer: Answer | undefined) => [
  ...new Set(answer?.errors?.map(({ extensions }) => extensions.code)),
]

const deep = (open: string, inner: string, close: string, levels: number) =>
  open.repeat(levels) + inner + close.repeat(levels)

describe('no document or variable makes any transport fail', () => {
  const FOLLOW = (rest: string) => `subscription ($s: Boolean!) { taskUpdated(id: "x") ${rest} { id } }`
  const REFUSED: [string, string, Variables][] = [
    ['@include by a variable at the root of a subscription', FOLLOW('@include(if: $s)'), { s: true }],
    ['@skip by a variable at the root of a subscription', FOLLOW('@skip(if: $s)'), { s: false }],
    [
      '@include by a variable in a fragment at the root',
      'subscription ($s: Boolean!) { ...F } fragment F on Subscription { taskUpdated(id: "x") @include(if: $s) { id } }',
      { s: true },
    ],
    [
      'a spread with @include by a variable at the root',
      'subscription ($s: Boolean!) { ... @include(if: $s) { taskUpdated(id: "x") { id } } }',
      { s: true },
    ],
    ['@include without an argument', 'subscription { taskUpdated(id: "x") @include { id } }', {}],
    [
      'fragments in a circle',
      'subscription { ...A } fragment A on Subscription { ...B } fragment B on Subscription { ...A }',
      {},
    ],
    ['a fragment named __proto__ that is not there', '{ ...__proto__ }', {}],
    ['a fragment named constructor that is not there', '{ ...constructor }', {}],
    ['a type that is not there', '{ ... on toString { id } }', {}],
    ['a field named like a method of objects', '{ constructor toString hasOwnProperty __proto__ }', {}],
    ['a directive named like a method of objects', '{ __typename @constructor @toString }', {}],
    ['an argument named __proto__', '{ upscaleTask(id: "x", __proto__: 1) { id } }', {}],
    [
      'an enum value named constructor',
      '{ upscaleTasks(status: constructor) { pageInfo { hasNextPage } } }',
      {},
    ],
    ['a variable of a type that is not there', 'query ($a: constructor) { __typename }', {}],
    ['selections nested without end', deep('{ a', '', '}', 400), {}],
    ['lists nested without end', `{ upscaleTask(id: ${deep('[', '1', ']', 400)}) { id } }`, {}],
    ['list types nested without end', `query ($a: ${deep('[', 'Int', ']', 400)}) { __typename }`, {}],
    ['an alias of 1,000 characters', `{ ${'a'.repeat(1_000)}: __typename }`, {}],
  ]
  test.each(REFUSED)('%s is refused, with the same code everywhere', async (_name, query, variables) => {
    const [first, ...rest] = await askAll(query, variables)
    expect(codes(first)).toHaveLength(1)
    expect(codes(first)[0]).toMatch(/^(GRAPHQL_VALIDATION_FAILED|GRAPHQL_PARSE_FAILED|BAD_USER_INPUT)$/)
    for (const answer of rest) expect(answer.errors?.map(toFacts)).toEqual(first?.errors?.map(toFacts))
  })
  const toFacts = ({ message, extensions: { code, field } }: Failure) => ({ message, code, field })

  const ENTITIES = 'query ($r: [_Any!]!) { _entities(representations: $r) { __typename } }'
  const INPUT = 'mutation ($i: UpscaleImageInput!) { upscaleImage(input: $i) { replayed } }'
  const BAD: [string, string, string][] = [
    ...[
      '{"a":1}',
      '1',
      'null',
      'true',
      '[]',
      '["UpscaleTask"]',
      '"__proto__"',
      '"constructor"',
      '"toString"',
      '"Query"',
      '""',
      '{"toString":1}',
      deep('[', '', ']', 10_000),
      deep('{"a":', '1', '}', 10_000),
    ].map((type): [string, string, string] => [
      `__typename ${type.slice(0, 20)}`,
      ENTITIES,
      `{"r":[{"id":"x","__typename":${type}}]}`,
    ]),
    ['a representation without a type', ENTITIES, '{"r":[{"id":"x"}]}'],
    ['a representation without end', ENTITIES, `{"r":${deep('[', '', ']', 10_000)}}`],
    [
      'an id without end',
      ENTITIES,
      `{"r":[{"__typename":"UpscaleTask","id":${deep('[', '', ']', 10_000)}}]}`,
    ],
    ['an input without end', INPUT, `{"i":${deep('{"a":', '1', '}', 8_000)}}`],
    ['an input of type list', INPUT, '{"i":[1]}'],
    [
      'a variable that is a method of objects',
      'query ($toString: ID!) { upscaleTask(id: $toString) { id } }',
      '{}',
    ],
    [
      'a variable named constructor',
      'query ($constructor: ID!) { upscaleTask(id: $constructor) { id } }',
      '{"constructor":{}}',
    ],
  ]
  test.each(BAD)('a bad variable is BAD_USER_INPUT everywhere: %s', async (_name, query, variables) => {
    for (const answer of await askAll(query, variables)) expect(codes(answer)).toEqual(['BAD_USER_INPUT'])
  })

  test('an operation that is made up of odd parts', async () => {
    const name = fc.constantFrom(
      '__proto__',
      'constructor',
      'toString',
      '__typename',
      'a',
      'id',
      'taskUpdated',
      'upscaleTask',
      'F',
    )
    const value = fc.oneof(
      name.map((each) => `$${each}`),
      fc.constantFrom('1', '"x"', 'null', '[[]]', '{__proto__: 1}', 'constructor', 'true'),
    )
    const directive = fc
      .tuple(fc.constantFrom('include', 'skip', 'constructor', 'deprecated'), value)
      .map(([each, of]) => `@${each}(if: ${of})`)
    const { selection } = fc.letrec<{ selection: string; set: string }>((tie) => ({
      set: fc.array(tie('selection'), { minLength: 1, maxLength: 3 }).map((all) => `{ ${all.join(' ')} }`),
      selection: fc.oneof(
        { maxDepth: 4 },
        name,
        fc
          .tuple(name, name, fc.option(directive, { nil: '' }))
          .map(([alias, field, at]) => `${alias}: ${field} ${at}`),
        fc
          .tuple(name, value, fc.option(directive, { nil: '' }), tie('set'))
          .map(([field, id, at, set]) => `${field}(id: ${id}) ${at} ${set}`),
        fc
          .tuple(
            fc.constantFrom('Subscription', 'Query', 'UpscaleTask', 'constructor'),
            fc.option(directive, { nil: '' }),
            tie('set'),
          )
          .map(([type, at, set]) => `... on ${type} ${at} ${set}`),
        fc.tuple(name, fc.option(directive, { nil: '' })).map(([each, at]) => `...${each} ${at}`),
      ),
    }))
    const variable = fc
      .tuple(name, fc.constantFrom('Boolean!', 'ID', '[ID!]!', 'constructor', 'UpscaleImageInput'))
      .map(([each, type]) => `$${each}: ${type}`)
    // Fastify refuses these keys in a body, before it is GraphQL.
    const json = fc.json().filter((text) => !/__proto__|constructor/.test(text))
    const document = fc.record({
      type: fc.constantFrom('query', 'subscription', 'mutation'),
      variables: fc.array(variable, { maxLength: 2 }),
      selections: fc.array(selection, { minLength: 1, maxLength: 3 }),
      fragment: fc.option(fc.tuple(name, selection), { nil: null }),
    })
    await fc.assert(
      fc.asyncProperty(document, json, async ({ type, variables, selections, fragment }, json) => {
        const definitions = variables.length > 0 ? `(${variables.join(', ')})` : ''
        const extra = fragment ? `fragment ${fragment[0]} on Subscription { ${fragment[1]} }` : ''
        const given = `{"constructor":true,"toString":"x","id":"x","a":${json}}`
        const answers = await askAll(`${type} ${definitions} { ${selections.join(' ')} } ${extra}`, given)
        // Subscriptions run on two of them.
        for (const answer of answers.slice(2)) expect(codes(answer)).toEqual(codes(answers[1]))
      }),
      { numRuns: 150 },
    )
  }, 120_000)

  test('all the while, no socket is closed, and nothing is logged as unexpected', () => {
    expect(scene.gateway.log()).not.toContain('unexpectedly')
  })
})

describe('an answer is bounded, however bad the request is', () => {
  const INPUT = 'mutation ($i: UpscaleImageInput!) { upscaleImage(input: $i) { replayed } }'
  const fields = (count: number, value: unknown) =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`field${n}`, value]))
  const FAULTS: [string, string, Variables][] = [
    [
      'one value of 60 KB',
      'query ($n: Int!) { upscaleTasks(first: $n) { pageInfo { hasNextPage } } }',
      { n: 'x'.repeat(60_000) },
    ],
    ['58 fields of 1 KB', INPUT, { i: fields(58, 'x'.repeat(1_000)) }],
    ['3,000 fields', INPUT, { i: fields(3_000, '') }],
    ['the name of a field of 60 KB', INPUT, { i: { ['x'.repeat(60_000)]: 1 } }],
    [
      'a literal of 60 KB',
      `{ upscaleTasks(first: "${'x'.repeat(60_000)}") { pageInfo { hasNextPage } } }`,
      {},
    ],
    ['a name of 60 KB', `{ ${'x'.repeat(60_000)} }`, {}],
    ['an operation name of 60 KB', `query ${'x'.repeat(60_000)} { nothing }`, {}],
    ['a directive of 60 KB', `{ __typename @${'x'.repeat(60_000)} }`, {}],
    ['60 KB of what cannot be parsed', 'x'.repeat(60_000), {}],
  ]
  test.each(FAULTS)('%s', async (_name, query, variables) => {
    const texts = await Promise.all(NAMES.map((name) => TRANSPORTS[name](scene, query, variables)))
    for (const text of texts) {
      expect(text.length).toBeLessThan(20_000)
      const { errors = [] } = JSON.parse(text) as Answer
      expect(errors.length).toBeGreaterThan(0)
      expect(errors.length).toBeLessThanOrEqual(20)
      for (const { message, extensions } of errors) {
        expect(message.length).toBeLessThanOrEqual(501)
        expect(extensions.code).not.toBe('INTERNAL_SERVER_ERROR')
      }
    }
  })

  test('that there are more faults is BAD_USER_INPUT, too', async () => {
    const answers = await askAll(INPUT, { i: fields(58, 'x'.repeat(1_000)) })
    for (const { errors } of answers) {
      expect(errors).toHaveLength(5)
      expect(errors?.at(-1)).toMatchObject({
        message: expect.stringContaining('Too many errors'),
        extensions: { code: 'BAD_USER_INPUT', field: 'variables' },
      })
    }
  })
})

test.each([
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  '__typename',
  'data',
  'then',
  '__fragments',
])('the alias %s is shown on every transport', async (alias) => {
  await using router = await startScriptedRouter()
  await using other = await openScene({ SUBSCRIPTION_CALLBACK_URLS: router.url })
  const task = await other.submit()
  const query = `subscription ($id: ID!) { taskUpdated(id: $id) { version ${alias}: status ...F } } fragment F on UpscaleTask { source { ${alias}: id } }`
  const expected = `{"data":{"taskUpdated":{"version":2,"${alias}":"PROCESSING","source":{"${alias}":"source"}}}}`
  const seen = [
    await TRANSPORTS.SSE(other, query, { id: task.id }),
    await TRANSPORTS.WebSocket(other, query, { id: task.id }),
  ]
  expect(seen).toEqual([expected, expected])
  const asQuery = query.replace('subscription', 'query').replace('taskUpdated', 'upscaleTask')
  const both = [
    await TRANSPORTS.HTTP(other, asQuery, { id: task.id }),
    await TRANSPORTS.WebSocket(other, asQuery, { id: task.id }),
  ]
  for (const text of both) expect(text.trim()).toBe(expected.replace('taskUpdated', 'upscaleTask'))
})

test('a subscription that is made up of odd parts shows the same on WebSocket as on an event stream', async () => {
  const task = await scene.submit()
  await task.fail(500)
  const alias = fc.constantFrom(
    '',
    '',
    '__proto__: ',
    'constructor: ',
    'toString: ',
    'a: ',
    'id: ',
    'data: ',
    'errors: ',
  )
  const at = fc.constantFrom(
    '',
    '',
    '@include(if: $yes)',
    '@skip(if: $yes)',
    '@include(if: false)',
    '@skip(if: false) @include(if: true)',
  )
  const leaf = fc.constantFrom(
    'id',
    'version',
    'status',
    '__typename',
    'createdAt',
    'imageIndex',
    'images { url }',
    'images { __typename }',
    'problem { code }',
    'problem { why: message __typename }',
    'source { id }',
    'source { x: id y: id }',
    'history { note }',
    'callbacks { url }',
    '...F',
    '... on UpscaleTask { status }',
    '... on Node { id }',
    '... { version }',
    '... { ...F }',
  )
  const selection = fc.tuple(alias, leaf, at).map(([name, field, directive]) => {
    const [head = '', ...rest] = field.split(' {')
    if (field.startsWith('...'))
      return field.startsWith('... {')
        ? field.replace('...', `... ${directive}`)
        : field === '...F'
          ? `...F ${directive}`
          : field
    return `${name}${head} ${directive} ${rest.length > 0 ? `{${rest.join(' {')}` : ''}`
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(selection, { minLength: 1, maxLength: 6 }),
      alias,
      fc.boolean(),
      async (selections, root, yes) => {
        const query = `subscription ($id: ID!, $yes: Boolean = true) { ${root}taskUpdated(id: $id) { a1: id @skip(if: $yes) ${selections.join(' ')} } } fragment F on UpscaleTask { settledAt images { url } }`
        const request = [scene, query, { id: task.id, ...(yes && { yes }) }] as const
        const [stream, socket] = await Promise.all([
          TRANSPORTS.SSE(...request),
          TRANSPORTS.WebSocket(...request),
        ])
        // With fields that are skipped, graphql-jit differs in the order of keys, and in the places that
        // errors name.
        const read = (text: string) =>
          JSON.parse(text.replaceAll('__proto__', 'proto'), (key, value: unknown) =>
            key === 'correlationId' || key === 'locations' ? null : value,
          ) as unknown
        expect(read(socket)).toEqual(read(stream))
      },
    ),
    { numRuns: 150 },
  )
}, 120_000)
