import type { ServerResponse } from 'node:http'
import { describe, expect, test } from '@jest/globals'
import { ManualClock } from '../support/clock.ts'
import { startGateway, TRANSPORTS, type Gateway, type Result, type Transport } from '../support/gateway.ts'
import { draw } from '../support/picture-files.ts'
import { serve, startPictureServer } from '../support/picture-server.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { waitFor } from '../support/wait-for.ts'

const QUERY = `query ($taskId: ID!, $engine: String) {
  sourceImages(taskId: $taskId, engine: $engine) { url width height thumbhash } }`

interface Listed {
  readonly sourceImages: readonly ({ readonly url: string; readonly width: number | null } | null)[] | null
}

const list = (
  gateway: Gateway,
  variables: { taskId: string; engine?: string },
  transport: Transport = 'HTTP',
) => gateway.run<Listed, { taskId: string; engine?: string }>(transport, QUERY, variables)

/** Whether all facts are there. */
const isMeasured = ({ data }: Result<Listed>) =>
  data?.sourceImages?.every((image) => image?.width != null) ?? false

/** The answer of kie.ai about a task with four pictures. */
const grid = (url: string) =>
  json(200, {
    code: 200,
    data: {
      successFlag: 1,
      resultInfoJson: { resultUrls: [0, 1, 2, 3].map((index) => ({ resultUrl: `${url}/${index}.png` })) },
    },
  })

describe('sourceImages', () => {
  test.each(TRANSPORTS)(
    'lists the four pictures of a source task by their index, over %s',
    async (transport) => {
      await using gateway = await startGateway()
      const read = () => list(gateway, { taskId: 'sandbox-late-20' }, transport)
      // A picture that is not measured within a second has its facts later.
      await waitFor(async () => isMeasured(await read()))
      const { data } = await read()
      expect(data?.sourceImages).toHaveLength(4)
      expect(new Set(data?.sourceImages?.map((image) => image?.url)).size).toBe(4)
      expect(data?.sourceImages?.[0]).toMatchObject({
        thumbhash: expect.any(String),
        height: expect.any(Number),
      })
    },
  )

  test('polls the engine once for all four, and shares what it has found', async () => {
    await using upstream = await startScriptedUpstream()
    upstream.onLookup = json(200, { code: 422, msg: 'recordInfo is null', data: null })
    await using gateway = await startGateway({ UPSTREAM_URL: upstream.url })
    for (let n = 0; n < 3; n += 1)
      expect(await list(gateway, { taskId: 'unknown' })).toEqual({ data: { sourceImages: null } })
    expect(upstream.received.filter(({ method }) => method === 'GET')).toHaveLength(1)
  })

  test.each([
    ['fails', json(500, 'no')],
    ['breaks the connection', (response: ServerResponse) => void response.destroy()],
  ])('is retryable while the engine %s, and polls it again after two seconds', async (_name, answer) => {
    const clock = new ManualClock()
    await using upstream = await startScriptedUpstream()
    await using pictures = await startPictureServer(serve(await draw().png().toBuffer()))
    upstream.onLookup = answer
    const settings = { UPSTREAM_URL: upstream.url, RESULT_ALLOW_HOSTS: '127.0.0.1' }
    await using gateway = await startGateway(settings, { clock })
    const read = () => list(gateway, { taskId: 'source' })
    for (let n = 0; n < 3; n += 1) {
      const { data, errors } = await read()
      expect(data).toEqual({ sourceImages: null })
      expect(errors?.[0]?.extensions).toMatchObject({ code: 'SERVICE_UNAVAILABLE', retryable: true })
    }
    expect(upstream.received).toHaveLength(1)
    upstream.onLookup = grid(pictures.url)
    clock.advance(2_000)
    await waitFor(async () => isMeasured(await read()))
  })

  test('lists the URL of a picture that cannot be downloaded, and tries it again after two seconds', async () => {
    const clock = new ManualClock()
    const picture = serve(await draw().png().toBuffer())
    await using upstream = await startScriptedUpstream()
    await using pictures = await startPictureServer((response, request) =>
      request.url === '/1.png' ? response.writeHead(503).end() : picture(response, request),
    )
    upstream.onLookup = grid(pictures.url)
    const settings = { UPSTREAM_URL: upstream.url, RESULT_ALLOW_HOSTS: '127.0.0.1' }
    await using gateway = await startGateway(settings, { clock })
    const read = () => list(gateway, { taskId: 'source' })
    const downloads = () => pictures.received.filter(({ url }) => url === '/1.png').length
    const failures = () => gateway.log().split('a source image could not be inspected').length - 1
    await waitFor(async () => {
      const { data } = await read()
      return failures() === 1 && data?.sourceImages?.filter((image) => image?.width != null).length === 3
    })
    const { data } = await read()
    expect(data?.sourceImages?.[1]).toEqual({
      url: `${pictures.url}/1.png`,
      width: null,
      height: null,
      thumbhash: null,
    })
    expect(downloads()).toBe(1)
    pictures.answer = picture
    clock.advance(2_000)
    await waitFor(async () => isMeasured(await read()))
    expect(downloads()).toBe(2)
    expect(upstream.received).toHaveLength(1)
  })

  test('is null where the engine reports a grid only', async () => {
    await using gateway = await startGateway({ ENGINES: 'kie-midjourney,midjourney-proxy' })
    const { data } = await list(gateway, { taskId: 'source', engine: 'midjourney-proxy' })
    expect(data).toEqual({ sourceImages: null })
  })

  test.each([
    ['taskId', { taskId: ' ' }],
    ['taskId', { taskId: 'x'.repeat(129) }],
    ['engine', { taskId: 'source', engine: 'none' }],
  ])('refuses an invalid %s: %j', async (field, variables) => {
    await using gateway = await startGateway()
    const { errors } = await list(gateway, variables)
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'BAD_USER_INPUT', field })
  })

  test('needs a token', async () => {
    await using gateway = await startGateway({ AUTH_JWT_SECRET: 's'.repeat(32) })
    const { errors } = await list(gateway, { taskId: 'source' })
    expect(errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
  })

  test('leaves polls to tasks, and says when one owner wants too many', async () => {
    await using gateway = await startGateway({ POLLS_PER_SECOND: '1' })
    const answers = await Promise.all(
      Array.from({ length: 7 }, (_, n) => list(gateway, { taskId: `source-${n}` })),
    )
    const codes = answers.map(({ errors }) => errors?.[0]?.extensions.code)
    expect(codes.filter((code) => code === 'TOO_MANY_OPERATIONS')).toHaveLength(2)
    const busy = answers
      .flatMap(({ errors }) => errors ?? [])
      .find(({ extensions }) => extensions.code === 'SERVICE_UNAVAILABLE')
    expect(busy?.extensions ?? { retryable: true }).toMatchObject({ retryable: true })
  })
})
