import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import {
  GetImagesOrErrorDocument,
  GetTaskDocument,
  FollowTaskDocument,
  FollowImagesOrErrorDocument,
  UpscaleImageDocument,
  UpscaleImageOrErrorDocument,
} from '../generated/operations.ts'
import { collect, startGateway, TRANSPORTS, type Gateway } from '../support/gateway.ts'

/** The vendor's table (docs/errors.md): number, code, retryable, wait. */
const TABLE = [
  [400, 'UPSTREAM_BAD_REQUEST', false, null],
  [401, 'UPSTREAM_UNAUTHORIZED', false, null],
  [402, 'INSUFFICIENT_CREDITS', false, null],
  [404, 'UPSTREAM_NOT_FOUND', false, null],
  [408, 'UPSTREAM_TIMEOUT', true, 0],
  [433, 'KEY_QUOTA_EXCEEDED', false, null],
  [422, 'UPSTREAM_VALIDATION_FAILED', false, null],
  [429, 'UPSTREAM_RATE_LIMITED', true, 10_000],
  [455, 'UPSTREAM_MAINTENANCE', true, 60_000],
  [500, 'UPSTREAM_SERVER_ERROR', true, 5_000],
  [501, 'GENERATION_FAILED', true, 0],
  [505, 'FEATURE_DISABLED', false, null],
] as const

/** How the number arrives, and the source task id by which the sandbox does so. */
const AT_SUBMIT = [
  ['the body code of an HTTP 200', 'code'],
  ['the HTTP status', 'http'],
] as const

describe('every failure of the upstream is told once, by problem or as a typed error', () => {
  let gateway: Gateway
  beforeAll(async () => {
    gateway = await startGateway()
  })
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]()
  })

  describe.each(TRANSPORTS)('over %s', (transport) => {
    describe.each(TABLE)('%i is %s', (number, code, retryable, retryAfterMs) => {
      const facts = { code, retryable, retryAfterMs, upstreamCode: number }

      test.each(AT_SUBMIT)('as %s', async (_name, kind) => {
        const input = { taskId: `sandbox-${kind}-${number}`, imageIndex: 0, force: true }
        const asData = await gateway.run(transport, UpscaleImageDocument, { input })
        expect(asData.errors).toBeUndefined()
        expect(asData.data?.upscaleImage).toMatchObject({ task: null, problem: facts, replayed: false })
        const problem = asData.data?.upscaleImage?.problem

        const record = await gateway.run(transport, GetTaskDocument, { id: problem?.taskId ?? '' })
        expect(record.data?.upscaleTask).toMatchObject({ status: 'FAILED', images: null, problem })

        const asError = await gateway.run(transport, UpscaleImageOrErrorDocument, { input })
        expect(asError.data?.upscaleImage).toEqual({ task: null, replayed: false })
        expect(asError.errors).toHaveLength(1)
        const [error] = asError.errors ?? []
        expect(error).toMatchObject({ path: ['upscaleImage', 'task'], message: problem?.message })
        expect(error?.extensions).toEqual({
          ...facts,
          taskId: expect.any(String),
          correlationId: expect.any(String),
        })
      })

      test('as a callback', async () => {
        const input = { taskId: `sandbox-callback-${number}`, imageIndex: 1, force: true }
        const { data } = await gateway.run(transport, UpscaleImageDocument, { input })
        const id = data?.upscaleImage?.task?.id ?? ''

        const states = await collect(gateway.follow(FollowTaskDocument, { id }))
        expect(states.flatMap(({ errors }) => errors ?? [])).toEqual([])
        expect(states.at(-1)?.data?.taskUpdated).toMatchObject({
          status: 'FAILED',
          images: null,
          problem: { ...facts, taskId: id },
        })

        const [failed] = await collect(gateway.follow(FollowImagesOrErrorDocument, { id }))
        const queried = await gateway.run(transport, GetImagesOrErrorDocument, { id })
        for (const [result, path] of [
          [failed, 'taskUpdated'],
          [queried, 'upscaleTask'],
        ] as const) {
          expect(result?.errors).toHaveLength(1)
          expect(result?.errors?.[0]).toMatchObject({
            path: [path, 'images'],
            extensions: { ...facts, taskId: id, correlationId: expect.any(String) },
          })
        }
      })
    })

    test.each(['code', 'http', 'callback'])('200 as %s is success', async (kind) => {
      const input = { taskId: `sandbox-${kind}-200`, imageIndex: 2, force: true }
      const { data, errors } = await gateway.run(transport, UpscaleImageDocument, { input })
      expect(errors).toBeUndefined()
      expect(data?.upscaleImage?.problem).toBeNull()
      const states = await collect(
        gateway.follow(FollowTaskDocument, { id: data?.upscaleImage?.task?.id ?? '' }),
      )
      expect(states.at(-1)?.data?.taskUpdated).toMatchObject({ status: 'SUCCEEDED', problem: null })
      expect(states.at(-1)?.data?.taskUpdated?.images).toHaveLength(1)
    })
  })
})
