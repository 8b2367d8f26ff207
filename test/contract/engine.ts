import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { openConnector } from '../../src/net/outbound.ts'
import { startSandbox } from '../../src/sandbox/standalone.ts'
import { systemClock } from '../../src/system.ts'
import type { Callback, Engine, UnsupportedField } from '../../src/tasks/engines/engine-ports.ts'
import type { UpscaleErrorCode } from '../../src/tasks/failure.ts'
import type { Picture } from '../../src/tasks/task.ts'
import { ADAPTERS, type AdapterOptions } from '../../src/upstream/adapters.ts'
import { openHttpEngine } from '../../src/upstream/http-engine.ts'
import { findPort } from '../support/servers.ts'
import { startScriptedUpstream, type ScriptedUpstream } from '../support/scripted-upstream.ts'
import { waitFor } from '../support/wait-for.ts'

type Expected = readonly [UpscaleErrorCode, upstreamCode: number | null]

/** In what the adapters differ. */
export interface EngineFacts {
  readonly adapter: keyof typeof ADAPTERS
  readonly options?: Partial<AdapterOptions>
  readonly signsCallbacks: boolean
  /** How many pictures a source task has. */
  readonly sourcePictures: number
  /** The answer to `sandbox-code-CODE`. */
  readonly refusals: Readonly<Record<number, Expected>>
  /** The failure of `sandbox-callback-500`. */
  readonly failure: Expected
  /** The code in the answer to a poll of an unknown task. */
  readonly notFoundCode: number
  /** How many callbacks come before the completion. */
  readonly progressCallbacks: number
  /** Null: not reported. */
  readonly creditsConsumed: number | null
  readonly reportsCredits: boolean
  /** A source task whose second submit is answered with its result; null: there is none. */
  readonly terminalSource: string | null
  /** The refusal of a wrong key; null: the key is first used to read the source task. */
  readonly wrongKey: Expected | null
  readonly unsupported: readonly (readonly [Partial<Picture>, UnsupportedField['field']])[]
}

const PICTURE: Picture = { sourceTaskId: 'sandbox-lost', imageIndex: 2, waterMark: null }
const UNKNOWN_ID = 'f'.repeat(32)
const KEY = 'the-key'
const READ = { timeoutMs: 5_000, correlationId: 'read' }
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

async function openScene(facts: EngineFacts) {
  await using opened = new AsyncDisposableStack()
  const sandbox = opened.use(
    await startSandbox({ host: '127.0.0.1', port: 0, sandboxImages: null }, silent, {
      apiKey: KEY,
      completeAfterMs: 0,
    }),
  )
  const receiver = opened.use(await startScriptedUpstream())
  const connector = opened.use(openConnector())
  const answers: string[] = []
  const { adapter, options } = facts
  const dialect = ADAPTERS[adapter].createDialect({ model: null, factor: null, ...options })
  const own = opened.move()
  const open = (changes: Partial<Parameters<typeof openHttpEngine>[0]> = {}): Engine =>
    own.use(
      openHttpEngine({
        name: 'second',
        mode: 'SANDBOX',
        dialect,
        secrets: [],
        baseUrl: () => sandbox.url,
        apiKeys: [KEY],
        resultHosts: [],
        connector,
        timeoutMs: 5_000,
        clock: systemClock,
        log: silent,
        onAnswer: (operation, outcome) => void answers.push(`${operation} ${outcome}`),
        ...changes,
      }),
    )
  return { open, receiver, answers, [Symbol.asyncDispose]: () => own.disposeAsync() }
}

/** What every adapter must do, over HTTP, against the sandbox that speaks its dialect. */
export function describeEngine(name: string, facts: EngineFacts): void {
  const { refusals, failure, notFoundCode, creditsConsumed, terminalSource, unsupported } = facts
  const consumption = creditsConsumed === null ? {} : { creditsConsumed }

  describe(`${name} is an Engine`, () => {
    let scene: Awaited<ReturnType<typeof openScene>>
    beforeEach(async () => {
      scene = await openScene(facts)
    })
    afterEach(() => scene[Symbol.asyncDispose]())

    const submit = (sourceTaskId: string, engine = scene.open(), callBackUrl: string | null = null) =>
      engine.submit({ ...PICTURE, sourceTaskId, callBackUrl, traceparent: null }, 'submit')
    const accept = async (sourceTaskId: string, engine = scene.open(), callBackUrl: string | null = null) => {
      const answer = await submit(sourceTaskId, engine, callBackUrl)
      if (answer.kind !== 'accepted') throw new Error(`Not accepted: ${JSON.stringify(answer)}`)
      return answer
    }

    test('accepts a task and reports its result, of the picture with the index', async () => {
      const engine = scene.open()
      const { upstreamTaskId, outcome } = await accept('sandbox-lost', engine)
      expect(outcome).toBeUndefined()
      await waitFor(async () => (await engine.poll(upstreamTaskId, READ)).kind !== 'pending')
      expect(await engine.poll(upstreamTaskId, READ)).toEqual({
        kind: 'succeeded',
        imageUrls: [expect.stringMatching(/\/upscaled\/2\.png\?source=sandbox-lost$/)],
        ...consumption,
      })
    })

    test('reports a task that runs as pending', async () => {
      const engine = scene.open()
      const { upstreamTaskId } = await accept('sandbox-late-60', engine)
      expect(await engine.poll(upstreamTaskId, READ)).toEqual({ kind: 'pending' })
    })

    test('reports the failure of an accepted task', async () => {
      const engine = scene.open()
      const { upstreamTaskId } = await accept('sandbox-callback-500', engine)
      await waitFor(async () => (await engine.poll(upstreamTaskId, READ)).kind !== 'pending')
      const [code, upstreamCode] = failure
      expect(await engine.poll(upstreamTaskId, READ)).toMatchObject({
        kind: 'failed',
        recorded: true,
        failure: { code, upstreamCode },
      })
    })

    test('does not know an unknown task', async () => {
      expect(await scene.open().poll(UNKNOWN_ID, READ)).toEqual({
        kind: 'notFound',
        upstreamCode: notFoundCode,
      })
    })

    test.each(Object.entries(refusals))('refuses with code %s', async (code, [ours, upstreamCode]) => {
      const answer = await submit(`sandbox-code-${code}`)
      expect(answer).toMatchObject({ kind: 'refused', failure: { code: ours, upstreamCode } })
    })

    test.each(['sandbox-no-id', 'sandbox-empty', 'sandbox-html-502', 'sandbox-html-524', 'sandbox-reset'])(
      'does not know the outcome of %s',
      async (sourceTaskId) => {
        expect(await submit(sourceTaskId)).toEqual({ kind: 'unknown', note: expect.any(String) })
      },
    )

    test('does not know the outcome if no answer comes in time', async () => {
      expect(await submit('sandbox-hang', scene.open({ timeoutMs: 700 }))).toMatchObject({ kind: 'unknown' })
    })

    test.each([
      [429, 'UPSTREAM_RATE_LIMITED'],
      [503, 'UPSTREAM_MAINTENANCE'],
      [404, 'UPSTREAM_NOT_FOUND'],
      [522, 'UPSTREAM_UNREACHABLE'],
    ])('takes an HTML page with HTTP %i for a refusal that charged nothing', async (status, code) => {
      expect(await submit(`sandbox-html-${status}`)).toMatchObject({
        kind: 'refused',
        failure: { code, upstreamCode: status, nothingCharged: true },
      })
    })

    const { wrongKey } = facts
    if (wrongKey !== null)
      test('refuses with a wrong key', async () => {
        const [code, upstreamCode] = wrongKey
        expect(await submit('sandbox-lost', scene.open({ apiKeys: ['wrong'] }))).toMatchObject({
          kind: 'refused',
          failure: { code, upstreamCode },
        })
      })
    else
      test('sends nothing if the source task has no such picture', async () => {
        expect(await submit(UNKNOWN_ID)).toMatchObject({
          kind: 'refused',
          failure: { code: 'UPSTREAM_NOT_FOUND', upstreamCode: null, nothingCharged: true },
        })
        expect(scene.answers).toEqual(['source 422'])
      })

    test('uses the next key when the upstream refuses one, for every request, and logs its position', async () => {
      const warned: object[] = []
      const log = { ...silent, warn: (said: object) => void warned.push(said) }
      const open = () => scene.open({ apiKeys: ['revoked', 'revoked-too', KEY], log })
      const engine = open()
      const { upstreamTaskId } = await accept('sandbox-late-60', engine)
      expect(warned).toEqual([{ engine: 'second', refused: 1, used: 3 }])
      expect(await engine.poll(upstreamTaskId, READ)).toEqual({ kind: 'pending' })
      expect(warned).toHaveLength(1)
      expect(await open().poll(upstreamTaskId, READ)).toEqual({ kind: 'pending' })
      expect(await open().readSource('sandbox-lost', READ)).toHaveLength(facts.sourcePictures)
      const credits = await open().credits(READ)
      expect(credits !== null).toBe(facts.reportsCredits)
      expect(JSON.stringify(warned)).not.toContain('revoked')
    })

    test('reports an upstream that cannot be reached', async () => {
      const port = await findPort()
      const engine = scene.open({ baseUrl: () => `http://127.0.0.1:${port}` })
      expect(await submit('any', engine)).toMatchObject({
        kind: 'refused',
        failure: { code: 'UPSTREAM_UNREACHABLE' },
      })
      expect(await engine.poll('any', READ)).toEqual({ kind: 'unavailable' })
      expect(await engine.readSource('any', READ)).toBe('unavailable')
      expect(await engine.credits(READ)).toBeNull()
    })

    if (terminalSource !== null)
      test('reports a result that is there at submit', async () => {
        await accept(terminalSource)
        const outcome = { kind: 'succeeded', imageUrls: [expect.stringContaining('/upscaled/2.png')] }
        await waitFor(async () => (await accept(terminalSource)).outcome !== undefined)
        expect(await accept(terminalSource)).toMatchObject({ outcome: { ...outcome, ...consumption } })
        const elsewhere = scene.open({ resultHosts: ['pictures.example'] })
        expect(await accept(terminalSource, elsewhere)).not.toHaveProperty('outcome')
      })

    /** The callbacks of a task, as this engine parses them. */
    const collect = async (sourceTaskId: string, engine: Engine) => {
      const { receiver } = scene
      const { upstreamTaskId } = await accept(sourceTaskId, engine, `${receiver.url}/callback`)
      await waitFor(() => receiver.received.length > facts.progressCallbacks)
      return { upstreamTaskId, ...parseAll(receiver, engine) }
    }
    const parseAll = ({ received }: ScriptedUpstream, engine: Engine) => {
      const callbacks = received.map(({ body }) => engine.parseCallback(JSON.parse(body)))
      return { progress: callbacks.slice(0, -1), last: callbacks.at(-1) }
    }

    test('parses the callbacks of a task that succeeds', async () => {
      const { upstreamTaskId, progress, last } = await collect('sandbox-callback-200', scene.open())
      const running: Callback = { upstreamTaskId, outcome: { kind: 'pending' } }
      expect(progress).toEqual(Array.from({ length: facts.progressCallbacks }, () => running))
      const imageUrls = [expect.stringContaining('/upscaled/2.png')]
      expect(last).toEqual({ upstreamTaskId, outcome: { kind: 'succeeded', imageUrls, ...consumption } })
    })

    test('parses the callback of a task that fails', async () => {
      const { upstreamTaskId, last } = await collect('sandbox-callback-500', scene.open())
      const [code, upstreamCode] = failure
      expect(last).toMatchObject({
        upstreamTaskId,
        outcome: { kind: 'failed', failure: { code, upstreamCode } },
      })
    })

    test('uses only results on the allowed hosts', async () => {
      const engine = scene.open({ resultHosts: ['pictures.example'] })
      const { upstreamTaskId, last } = await collect('sandbox-duplicate', engine)
      expect(last).toEqual({ upstreamTaskId, outcome: { kind: 'inconclusive', dropped: 1 } })
      expect(await engine.poll(upstreamTaskId, READ)).toEqual({ kind: 'pending' })
      const allowed = scene.open({ resultHosts: ['127.0.0.1'] })
      expect(await allowed.poll(upstreamTaskId, READ)).toMatchObject({ kind: 'succeeded' })
    })

    test.each([null, [], 'text', 7, {}, { code: 200 }, { id: 'a' }, { job_id: 'a' }, { data: {} }])(
      'does not take %j for a callback',
      (body) => {
        expect(scene.open().parseCallback(body)).toBeUndefined()
      },
    )

    test('reports the pictures of a source task', async () => {
      const engine = scene.open()
      const urls = await engine.readSource('sandbox-lost', READ)
      expect(urls).toHaveLength(facts.sourcePictures)
      expect(await engine.readSource(UNKNOWN_ID, READ)).toBeNull()
    })

    test('reports the credits that are left, if the upstream does', async () => {
      const credits = await scene.open().credits(READ)
      expect(credits).toEqual(facts.reportsCredits ? 1_000 : null)
    })

    test('names the first field that it does not support, without a request', () => {
      const engine = scene.open()
      expect(engine.findUnsupported(PICTURE)).toBeNull()
      expect(engine.findUnsupported({ ...PICTURE, waterMark: '' })).toBeNull()
      for (const [changes, field] of unsupported)
        expect(engine.findUnsupported({ ...PICTURE, ...changes })).toEqual({
          field,
          reason: expect.any(String),
        })
      expect(scene.answers).toEqual([])
    })

    test('has the name, the mode and the signature that it was opened with', () => {
      const { name, mode, signsCallbacks } = scene.open()
      expect({ name, mode, signsCallbacks }).toEqual({
        name: 'second',
        mode: 'SANDBOX',
        signsCallbacks: facts.signsCallbacks,
      })
    })

    test('sends nothing once it is disposed', async () => {
      const engine = scene.open()
      await scene[Symbol.asyncDispose]()
      expect(await submit('sandbox-lost', engine)).toMatchObject({
        kind: 'refused',
        failure: { code: 'UPSTREAM_UNREACHABLE' },
      })
      expect(scene.answers).toEqual([])
    })
  })
}
