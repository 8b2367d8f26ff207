import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { CATALOGUE, UPSCALE_ERROR_CODES } from '../../src/tasks/failure.ts'
import { startApolloGateway, startRouter } from '../support/gateways.ts'
import { json } from '../support/scripted-upstream.ts'
import { ask, openWorld, sign, submit, type World } from '../support/supergraph-world.ts'

const PROBLEM = 'problem { code message retryable retryAfterMs upstreamCode }'
const ACCEPTED = json(200, { code: 200, msg: 'success', data: { taskId: 'upstream-1' } })

describe('queries and mutations behind Hive Gateway, with both planners, Apollo Gateway and Grafbase', () => {
  let world: World
  let urls: readonly string[]
  const others = new AsyncDisposableStack()
  let alice: string
  beforeAll(async () => {
    alice = await sign('alice')
    world = await openWorld({ kind: 'Hive Gateway', subscriptions: 'ws' })
    const started = await Promise.all([
      startApolloGateway(world.subgraphs.supergraph),
      startRouter({ kind: 'Hive Gateway, native planner', subscriptions: 'ws' }, world.subgraphs),
      startRouter({ kind: 'Grafbase', subscriptions: 'ws' }, world.subgraphs),
    ])
    for (const each of started) others.use(each)
    urls = [world.router, ...started.map(({ url }) => url)]
  }, 120_000)
  afterAll(async () => {
    await others.disposeAsync()
    await world[Symbol.asyncDispose]()
  })
  const numbers = UPSCALE_ERROR_CODES.map((code) => CATALOGUE[code].upstreamCode).filter(
    (code) => code !== null,
  )

  test('there is a code for each number that the upstream is known to say', () => {
    expect([...numbers].sort()).toEqual([400, 401, 402, 404, 408, 422, 429, 433, 455, 500, 501, 505])
  })

  test.each([200, ...numbers])(
    'the upstream’s %i reads the same through each gateway as directly',
    async (code) => {
      world.upstream.onCreate = code === 200 ? ACCEPTED : json(200, { code, msg: 'No.', data: null })
      const selection = `replayed task { status ${PROBLEM} } ${PROBLEM}`
      const direct = await submit(world.direct, alice, selection)
      expect(direct.payload?.problem ?? null).toEqual(
        code === 200 ? null : expect.objectContaining({ upstreamCode: code }),
      )
      for (const url of urls) expect(await submit(url, alice, selection)).toEqual(direct)
      // Without `problem` the failure is still visible.
      for (const url of urls) {
        const { payload, errors } = await submit(url, alice, 'task { status }')
        expect(payload?.task ?? null).toEqual(code === 200 ? { status: 'PROCESSING' } : null)
        if (code === 200) expect(errors).toBeUndefined()
        else expect(errors?.map(({ message }) => message).join()).not.toBe('')
        if (code !== 200) expect(errors?.[0]?.extensions?.code).toBe(direct.payload?.problem?.code)
      }
    },
  )

  test('entities are joined both ways', async () => {
    world.upstream.onCreate = ACCEPTED
    const { payload } = await submit(world.direct, alice, 'task { id }')
    const id = payload?.task?.id ?? ''
    for (const url of urls) {
      const query = `{
        upscaleTask(id: "${id}") { status likes source { id prompt } }
        gallery(ids: ["${id}"]) { nodes { likes status version source { prompt } } pageInfo { hasNextPage } }
      }`
      const source = { prompt: 'the prompt of source-1' }
      expect((await ask(url, query, alice)).data).toEqual({
        upscaleTask: { status: 'PROCESSING', likes: id.length, source: { id: 'source-1', ...source } },
        gallery: {
          nodes: [{ likes: id.length, status: 'PROCESSING', version: 2, source }],
          pageInfo: { hasNextPage: false },
        },
      })
      const stranger = await ask(
        url,
        `{ gallery(ids: ["${id}"]) { nodes { likes status } } }`,
        await sign('bob'),
      )
      expect(JSON.stringify(stranger)).not.toContain('PROCESSING')
    }
  })

  test('who brings no token is refused by us, and told so', async () => {
    for (const url of urls) {
      const { data, errors } = await ask(url, '{ upscaleErrors { code } }')
      expect(data?.upscaleErrors ?? null).toBeNull()
      // Grafbase does not read the body of a 401.
      expect(JSON.stringify(errors)).toMatch(/UNAUTHENTICATED|failed with status code: 401/)
    }
  })
})
