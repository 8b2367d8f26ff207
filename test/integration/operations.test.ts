import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import {
  ErrorCatalogueDocument,
  FollowTaskDocument,
  GetTaskDocument,
  ListTasksDocument,
  ServiceDocument,
  UpscaleImageDocument,
} from '../generated/operations.ts'
import { collect, startGateway, TRANSPORTS, type Gateway, type Transport } from '../support/gateway.ts'

const CORRELATION_ID = expect.stringMatching(/^[\w-]{36}$/)

describe.each(TRANSPORTS)('operations over %s', (transport) => {
  let gateway: Gateway
  beforeAll(async () => {
    gateway = await startGateway()
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
  })

  const upscale = (input: Record<string, unknown>) =>
    gateway.run(transport, UpscaleImageDocument, { input: { taskId: 'source', imageIndex: 0, ...input } })

  /** The one error that an operation came to. */
  async function failure(document: string, variables?: Record<string, unknown>) {
    const { errors = [] } = await gateway.run(transport, document, variables)
    expect(errors).toHaveLength(1)
    expect(errors[0]?.extensions).toMatchObject({
      retryable: false,
      retryAfterMs: null,
      upstreamCode: null,
      correlationId: CORRELATION_ID,
    })
    return errors[0]
  }

  test('an upscale is accepted, and its task shows everything there is to know', async () => {
    const { data } = await upscale({ taskId: 'everything', imageIndex: 2, waterMark: 'mine' })
    expect(data?.upscaleImage).toMatchObject({ replayed: false, problem: null })
    const task = data?.upscaleImage?.task
    expect(task).toEqual({
      id: expect.any(String),
      version: 2,
      status: 'PROCESSING',
      source: { id: 'everything' },
      imageIndex: 2,
      waterMark: 'mine',
      images: null,
      problem: null,
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      updatedAt: expect.any(String),
      settledAt: null,
      deadlineAt: expect.any(String),
    })
    expect(Date.parse(task?.deadlineAt ?? '') - Date.parse(task?.createdAt ?? '')).toBe(1_800_000)
    await collect(gateway.follow(FollowTaskDocument, { id: task?.id ?? '' }))
    const { data: done } = await gateway.run(transport, GetTaskDocument, { id: task?.id ?? '' })
    const [image] = done?.upscaleTask?.images ?? []
    expect((await fetch(image?.url ?? '')).headers.get('content-type')).toBe('image/png')
    expect(Date.parse(image?.expiresAt ?? '')).toBeGreaterThan(Date.now())
  })

  test('the same picture again is replayed, with force it is paid for again', async () => {
    const first = await upscale({ taskId: 'replay' })
    const second = await upscale({ taskId: 'replay' })
    const forced = await upscale({ taskId: 'replay', force: true })
    const id = first.data?.upscaleImage?.task?.id
    expect(second.data?.upscaleImage).toMatchObject({ replayed: true, task: { id } })
    expect(forced.data?.upscaleImage).toMatchObject({ replayed: false, problem: null })
    expect(forced.data?.upscaleImage?.task?.id).not.toBe(id)
  })

  test('an empty watermark is none', async () => {
    const first = await upscale({ taskId: 'unmarked' })
    const second = await upscale({ taskId: 'unmarked', waterMark: '' })
    const marked = await upscale({ taskId: 'unmarked', waterMark: 'mine' })
    const id = first.data?.upscaleImage?.task?.id
    expect(second.data?.upscaleImage).toMatchObject({ replayed: true, task: { id } })
    expect(marked.data?.upscaleImage?.replayed).toBe(false)
  })

  test('an idempotency key gives its task, whatever has become of it', async () => {
    const refused = { taskId: 'sandbox-code-402', idempotencyKey: 'refused' }
    const first = await upscale(refused)
    const second = await upscale({ ...refused, force: true })
    expect(first.data?.upscaleImage).toMatchObject({ replayed: false, task: null })
    expect(second.data?.upscaleImage).toEqual({ ...first.data?.upscaleImage, replayed: true })
  })

  test.each([429, 455, 500, 501])('a refusal with %i frees its idempotency key', async (code) => {
    const input = { taskId: `sandbox-code-${code}`, idempotencyKey: `freed-${code}` }
    await upscale(input)
    expect((await upscale(input)).data?.upscaleImage).toMatchObject({ replayed: false, task: null })
  })

  test('an idempotency key with other arguments is IDEMPOTENCY_KEY_REUSED, as problem or as error', async () => {
    await upscale({ taskId: 'keyed', idempotencyKey: 'key' })
    const { data } = await upscale({ taskId: 'keyed', idempotencyKey: 'key', imageIndex: 1 })
    const facts = { code: 'IDEMPOTENCY_KEY_REUSED', retryable: false, taskId: null }
    expect(data?.upscaleImage).toMatchObject({ task: null, problem: facts, replayed: false })
    const error = await failure(
      'mutation { upscaleImage(input: {taskId: "x", imageIndex: 0, idempotencyKey: "key"}) { task { id } } }',
    )
    expect(error).toMatchObject({ path: ['upscaleImage', 'task'], extensions: facts })
  })

  describe('the one rule', () => {
    const FRAGMENTS = {
      TaskOnly: 'fragment TaskOnly on UpscaleImagePayload { task { id } }',
      ProblemOnly: 'fragment ProblemOnly on UpscaleImagePayload { problem { code } }',
    }
    /** A refused upscale with this selection, beside a field that is fine. */
    const mutation = (selection: string) => {
      const fragments = Object.entries(FRAGMENTS).filter(([name]) => selection.includes(name))
      return `mutation ($yes: Boolean = true, $no: Boolean = false) {
        result: upscaleImage(input: {taskId: "sandbox-code-402", imageIndex: 0, force: true}) { ${selection} }
        __typename @include(if: $yes) @skip(if: $no)
      } ${fragments.map(([, text]) => text).join(' ')}`
    }

    test.each([
      ['task { id } problem { code }'],
      ['problem { code }'],
      ['why: problem { code } task { id }'],
      ['task { id } ...ProblemOnly'],
      ['...TaskOnly ... on UpscaleImagePayload { problem { code } }'],
      ['task { id } problem @include(if: $yes) { code }'],
      ['task { id } problem @skip(if: $no) { code }'],
    ])('{ %s } has it as data and no error', async (selection) => {
      const { data, errors } = await gateway.run<Record<string, object>, never>(
        transport,
        mutation(selection),
      )
      expect(errors).toBeUndefined()
      expect(JSON.stringify(data?.result)).toContain('INSUFFICIENT_CREDITS')
    })

    test.each([
      ['task { id }', ['result', 'task']],
      ['replayed task { id status }', ['result', 'task']],
      ['mine: task { id }', ['result', 'mine']],
      ['a: task { id } b: task { id }', ['result', 'a']],
      ['...TaskOnly', ['result', 'task']],
      ['task { id } problem @include(if: $no) { code }', ['result', 'task']],
      ['task { id } problem @skip(if: $yes) { code }', ['result', 'task']],
      ['replayed', ['result']],
      ['__typename', ['result']],
      ['replayed task @include(if: $no) { id }', ['result']],
    ])('{ %s } has it as one error at %j', async (selection, path) => {
      const { data, errors } = await gateway.run<Record<string, unknown>, never>(
        transport,
        mutation(selection),
      )
      expect(errors).toHaveLength(1)
      expect(errors?.[0]).toMatchObject({
        path,
        extensions: { code: 'INSUFFICIENT_CREDITS', upstreamCode: 402 },
      })
      expect(data).toHaveProperty('__typename', 'Mutation')
      if (path.length === 1) expect(data?.result).toBeNull()
    })

    test('counts each task of a list by itself', async () => {
      await upscale({ taskId: 'sandbox-code-404', force: true })
      const list = (selection: string) =>
        gateway.run(
          transport,
          `{ upscaleTasks(first: 1, status: FAILED) { edges { node { ${selection} } } } }`,
        )
      expect((await list('images { url } problem { code }')).errors).toBeUndefined()
      expect((await list('status')).errors).toBeUndefined()
      expect((await list('images { url }')).errors).toMatchObject([
        { path: ['upscaleTasks', 'edges', 0, 'node', 'images'], extensions: { code: 'UPSTREAM_NOT_FOUND' } },
      ])
    })

    test('holds for a task that another subgraph refers to', async () => {
      const { data } = await upscale({ taskId: 'sandbox-code-404', force: true })
      const id = data?.upscaleImage?.problem?.taskId
      const query = (selection: string) => `query ($representations: [_Any!]!) {
        _entities(representations: $representations) { ... on UpscaleTask { ${selection} } } }`
      const variables = { representations: [{ __typename: 'UpscaleTask', id }] }
      const asData = await gateway.run(transport, query('images { url } problem { code }'), variables)
      expect(asData).toEqual({
        data: { _entities: [{ images: null, problem: { code: 'UPSTREAM_NOT_FOUND' } }] },
      })
      const asError = await gateway.run(transport, query('images { url }'), variables)
      expect(asError.errors).toMatchObject([{ path: ['_entities', 0, 'images'] }])
    })
  })

  describe('faults of the request', () => {
    test.each<[string, Record<string, unknown>]>([
      ['imageIndex', { imageIndex: 4 }],
      ['imageIndex', { imageIndex: -1 }],
      ['imageIndex', { imageIndex: 1.5 }],
      ['imageIndex', { imageIndex: null }],
      ['imageIndex', { imageIndex: undefined }],
      ['taskId', { taskId: '' }],
      ['taskId', { taskId: 'x'.repeat(129) }],
      ['taskId', { taskId: 'a\u0000b' }],
      ['taskId', { taskId: { no: 'object' } }],
      ['waterMark', { waterMark: 'x'.repeat(257) }],
      ['idempotencyKey', { idempotencyKey: '' }],
      ['callBackUrl', { callBackUrl: 'not a url' }],
      ['callBackUrl', { callBackUrl: 'http://2130706433/' }],
      ['colour', { colour: 'red' }],
    ])('%s in %j is BAD_USER_INPUT that names the field', async (field, input) => {
      const { errors } = await upscale(input)
      expect(errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT', field, retryable: false } }])
    })

    test('a missing variable and a page that is too large name their field, too', async () => {
      const missing = await failure('query ($id: ID!) { upscaleTask(id: $id) { id } }', {})
      expect(missing?.extensions).toMatchObject({ code: 'BAD_USER_INPUT', field: 'id' })
      for (const first of [0, -1, 101]) {
        const error = await failure(`{ upscaleTasks(first: ${first}) { pageInfo { hasNextPage } } }`)
        expect(error?.extensions).toMatchObject({ code: 'BAD_USER_INPUT', field: 'first' })
      }
      const cursor = await failure('{ upscaleTasks(after: "nonsense") { pageInfo { hasNextPage } } }')
      expect(cursor?.extensions).toMatchObject({ code: 'BAD_USER_INPUT', field: 'after' })
    })

    test.each<[string, string, Record<string, unknown>]>([
      ['id', 'query ($i: ID = "x") { upscaleTask(id: $i) { id } }', { i: null }],
      ['if', '{ upscaleErrors @include(if: $b) { code } }', { b: null }],
      [
        'input',
        'mutation ($i: Int = 0) { upscaleImage(input: {taskId: "a", imageIndex: $i}) { replayed } }',
        { i: null },
      ],
    ])(
      'a null that passes for a default value is BAD_USER_INPUT at %s',
      async (field, document, variables) => {
        const query = document.startsWith('{') ? `query ($b: Boolean = true) ${document}` : document
        const { errors } = await gateway.run(transport, query, variables)
        expect(errors).toMatchObject([{ extensions: { code: 'BAD_USER_INPUT', field } }])
      },
    )

    test.each([
      ['a syntax error', '{ upscaleTask(', 'GRAPHQL_PARSE_FAILED'],
      ['an empty selection', '{ }', 'GRAPHQL_PARSE_FAILED'],
      ['more than 1,000 tokens', `{ ${'__typename '.repeat(1_001)} }`, 'GRAPHQL_PARSE_FAILED'],
      ['an unknown field', '{ nothing }', 'GRAPHQL_VALIDATION_FAILED'],
      ['a fragment cycle', '{ ...A } fragment A on Query { ...A }', 'GRAPHQL_VALIDATION_FAILED'],
      ['a query without an operation', 'fragment A on Query { __typename }', 'GRAPHQL_VALIDATION_FAILED'],
      [
        'two operations and no name',
        'query A { __typename } query B { __typename }',
        'OPERATION_RESOLUTION_FAILURE',
      ],
    ])('%s ends that operation with a typed error, and no other', async (_name, document, code) => {
      expect((await failure(document))?.extensions.code).toBe(code)
      const { data } = await gateway.run(transport, ServiceDocument)
      expect(data).toEqual({ upscaleService: { mode: 'SANDBOX' } })
    })
  })

  test('an unknown task is null', async () => {
    expect(await gateway.run(transport, GetTaskDocument, { id: 'unknown' })).toEqual({
      data: { upscaleTask: null },
    })
  })

  test('the catalogue lists the vendor’s numbers and what the gateway concludes itself', async () => {
    const { data } = await gateway.run(transport, ErrorCatalogueDocument)
    const numbers = data?.upscaleErrors
      ?.map(({ upstreamCode }) => upstreamCode)
      .filter((code) => code !== null)
    expect(numbers).toEqual([400, 401, 402, 404, 422, 429, 455, 500, 501, 505, 408, 433])
    expect(data?.upscaleErrors).toHaveLength(20)
  })
})

test('tasks are listed page by page, newest first, each once', async () => {
  await using gateway = await startGateway()
  const ids: (string | undefined)[] = []
  for (const taskId of ['a', 'b', 'sandbox-code-402', 'c', 'd']) {
    const input = { taskId, imageIndex: 0 }
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
    ids.unshift(data?.upscaleImage?.task?.id ?? data?.upscaleImage?.problem?.taskId ?? undefined)
  }
  const page = async (variables: { first: number; after?: string | null; status?: 'FAILED' }) => {
    const { data } = await gateway.run('HTTP', ListTasksDocument, variables)
    const { edges = [], pageInfo } = data?.upscaleTasks ?? {}
    return { ids: edges.map(({ node }) => node.id), pageInfo }
  }
  const first = await page({ first: 2 })
  expect(first).toMatchObject({
    ids: ids.slice(0, 2),
    pageInfo: { hasNextPage: true, hasPreviousPage: false },
  })
  const second = await page({ first: 2, after: first.pageInfo?.endCursor ?? null })
  expect(second).toMatchObject({
    ids: ids.slice(2, 4),
    pageInfo: { hasNextPage: true, hasPreviousPage: true },
  })
  const third = await page({ first: 2, after: second.pageInfo?.endCursor ?? null })
  expect(third).toMatchObject({ ids: ids.slice(4), pageInfo: { hasNextPage: false } })
  expect((await page({ first: 100, status: 'FAILED' })).ids).toEqual([ids[2]])
})

describe.each<[Transport, string]>([
  ['HTTP', '{ __schema { types { name } } }'],
  ['WebSocket', '{ __type(name: "Query") { name } }'],
])('with introspection off, over %s', (transport, document) => {
  test('no error suggests a name of the schema', async () => {
    for (const [INTROSPECTION, suggests] of [
      ['on', true],
      ['off', false],
    ] as const) {
      await using gateway = await startGateway({ INTROSPECTION })
      const field = await gateway.run(transport, '{ upscaleTaskz { id } }')
      const input = { taskId: 'x', imageIndex: 0, waterMarkk: 'x' }
      const variable = await gateway.run(transport, UpscaleImageDocument, { input })
      for (const { errors } of [field, variable])
        expect(errors?.[0]?.message.includes('Did you mean')).toBe(suggests)
    }
  })

  test('it is refused, but composition still gets the schema', async () => {
    await using gateway = await startGateway({ INTROSPECTION: 'off' })
    const { errors } = await gateway.run(transport, document)
    expect(errors?.[0]).toMatchObject({ extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } })
    const { data } = await gateway.run<{ _service: { sdl: string } }, never>(
      transport,
      '{ _service { sdl } }',
    )
    expect(data?._service.sdl).toContain('type UpscaleTask @key(fields: "id")')
  })
})

test('what nobody foresaw is masked on both transports and found in the log by its correlation id', async () => {
  await using gateway = await startGateway()
  const document = 'query ($id: ID!) { upscaleTask(id: $id) { id } }'
  await gateway.breakStore()
  for (const transport of TRANSPORTS) {
    const { data, errors } = await gateway.run(transport, document, { id: 'x' })
    expect(data).toEqual({ upscaleTask: null })
    expect(errors).toMatchObject([
      { message: 'Internal server error', extensions: { code: 'INTERNAL_SERVER_ERROR' } },
    ])
    expect(JSON.stringify(errors)).not.toMatch(/sqlite|table|stack|\.ts/i)
    expect(gateway.log()).toMatch(
      new RegExp(`(no such table|does not exist).*${String(errors?.[0]?.extensions.correlationId)}`),
    )
  }
  const stream = collect(gateway.follow(FollowTaskDocument, { id: 'x' }))
  await expect(stream).rejects.toMatchObject([{ message: 'Internal server error' }])
})
