import { randomBytes } from 'node:crypto'
import { createServer, type AddressInfo } from 'node:net'
import { expect, test } from '@jest/globals'
import { openEventStream } from '../support/event-stream.ts'
import { startOtlpCollector, type ReceivedSpan } from '../support/otlp-collector.ts'
import { startProcess } from '../support/process.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { toTree, TRACED_SETTINGS } from '../support/traced-task.ts'

/** A service with a collector, and mutations that have a trace each. */
async function openScene(settings: Record<string, string>) {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const collector = opened.use(await startOtlpCollector())
  const upstream = opened.use(await startScriptedUpstream())
  const service = opened.use(
    await startProcess({
      ...TRACED_SETTINGS,
      DATABASE_URL: `file:${dir.path}/t.db`,
      UPSTREAM_URL: upstream.url,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      ...settings,
    }),
  )
  const rest = opened.move()
  return {
    collector,
    upstream,
    service,
    async submit(input = '', flags = '01') {
      const [traceId, spanId] = [randomBytes(16).toString('hex'), randomBytes(8).toString('hex')]
      const source = randomBytes(4).toString('hex')
      const query = `mutation { upscaleImage(input: { taskId: "${source}", imageIndex: 0 ${input} }) { task { id } } }`
      const response = await fetch(`${service.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-${spanId}-${flags}` },
        body: JSON.stringify({ query }),
      })
      const { data } = (await response.json()) as { data: { upscaleImage: { task: { id: string } } } }
      const { id } = data.upscaleImage.task
      const ofTask = (spans: readonly ReceivedSpan[]) => spans.filter((span) => span.traceId === traceId)
      return { id, traceId, spanId, ofTask }
    },
    /** Sends the callback of the upstream about the latest task. */
    async succeed(resultUrl: string) {
      const { callBackUrl } = JSON.parse(upstream.received.at(-1)?.body ?? '') as { callBackUrl: string }
      const data = { taskId: 'upstream-1', resultUrls: [resultUrl] }
      await fetch(service.url + new URL(callBackUrl).pathname, {
        method: 'POST',
        body: JSON.stringify({ code: 200, msg: 'success', data }),
      })
      return callBackUrl
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

test('the work on a queued task is in its trace, whichever operation or worker does it', async () => {
  await using scene = await openScene({ UPSTREAM_RATE_LIMIT: '2/1s' })
  const { collector } = scene
  const tasks = await Promise.all([1, 2, 3, 4].map(() => scene.submit(', queue: true')))
  for (const { spanId, ofTask } of tasks) {
    await collector.until((spans) =>
      ['send', 'mutation upscaleImage'].every((name) => ofTask(spans).some((span) => span.name === name)),
    )
    expect(toTree(ofTask(collector.spans), spanId)).toEqual({
      'mutation upscaleImage': {
        COMMIT: {},
        dequeue: { COMMIT: {} },
        send: { COMMIT: {}, 'POST submit': {} },
      },
    })
  }
  // The rounds of the workers are no traces of their own.
  const isOfTask = ({ traceId }: ReceivedSpan) => tasks.some((task) => task.traceId === traceId)
  expect(collector.spans.filter((span) => !isOfTask(span)).map(({ name }) => name)).toEqual([])
}, 60_000)

test('the attempts at a result are in the trace of the task, and no span has a secret', async () => {
  await using scene = await openScene({ RESULT_INSPECT_MS: '300', RESULT_ALLOW_HOSTS: '127.0.0.1' })
  const { collector } = scene
  const { spanId, ofTask } = await scene.submit(', callBackUrl: "http://127.0.0.1:1/hook?key=sesame"')
  const callBackUrl = await scene.succeed('http://127.0.0.1:1/picture.png?signature=sesame')
  const names = ['inspect', 'POST delivery']
  await collector.until((spans) => names.every((name) => ofTask(spans).some((span) => span.name === name)))
  const tree = toTree(ofTask(collector.spans), spanId)
  expect(tree).toMatchObject({ 'mutation upscaleImage': { inspect: { COMMIT: {} }, 'POST delivery': {} } })
  const shown = JSON.stringify(collector.spans)
  for (const secret of ['sesame', callBackUrl.split('/').at(-1) ?? '', 'anonymous'])
    expect(shown).not.toContain(secret)
}, 60_000)

test('the end of a subscription in another trace links to the trace of the task', async () => {
  await using scene = await openScene({})
  const { collector, service } = scene
  const { id, traceId } = await scene.submit()
  const query = `subscription { taskUpdated(id: "${id}") { status } }`
  using stream = await openEventStream(service.url, { query })
  await stream.next()
  await scene.succeed('https://example.com/result.png')
  await stream.all()
  const findEnd = () => collector.spans.find(({ name }) => name === 'subscription taskUpdated end')
  await collector.until(() => findEnd() !== undefined)
  expect(findEnd()?.traceId).not.toBe(traceId)
  expect(findEnd()?.links).toMatchObject([{ traceId }])
}, 60_000)

test('a trace that the client does not sample is passed on, and not exported', async () => {
  await using scene = await openScene({})
  const { collector, upstream } = scene
  const unsampled = await scene.submit('', '00')
  expect(upstream.received[0]?.headers.traceparent).toMatch(new RegExp(`^00-${unsampled.traceId}-.{16}-00$`))
  const sampled = await scene.submit()
  await collector.until((spans) => sampled.ofTask(spans).some(({ name }) => name.startsWith('mutation')))
  expect(unsampled.ofTask(collector.spans)).toEqual([])
}, 60_000)

test('a collector that does not answer does not keep the process from ending', async () => {
  const hanging = createServer(() => undefined)
  await new Promise<void>((resolve) => hanging.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(hanging.address() as AddressInfo).port}`
  await using scene = await openScene({ OTEL_EXPORTER_OTLP_ENDPOINT: url })
  await scene.submit()
  scene.service.child.kill('SIGTERM')
  expect(await scene.service.exited).toEqual({ code: 0, signal: null })
  hanging.close()
}, 60_000)
