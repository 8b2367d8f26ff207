import { expect, test } from '@jest/globals'
import { startOtlpCollector } from '../support/otlp-collector.ts'
import { startProcess } from '../support/process.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { startPostgres } from '../support/servers.ts'
import { expectTree, runTracedTask, TRACED_SETTINGS } from '../support/traced-task.ts'

test('one trace shows a task across replicas, and a task that is only polled', async () => {
  await using postgres = await startPostgres()
  await using collector = await startOtlpCollector()
  await using upstream = await startScriptedUpstream()
  const start = (name: string) =>
    startProcess({
      ...TRACED_SETTINGS,
      DATABASE_URL: postgres.url,
      UPSTREAM_URL: upstream.url,
      POLL_INTERVAL_MS: '200',
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_SERVICE_NAME: name,
    })
  await using first = await start('first')
  await using second = await start('second')
  const done = await runTracedTask(upstream, { submitUrl: first.url, callbackUrl: second.url })
  const [, traceId = '', clientSpan = ''] = done.traceparent.split('-')
  const ofTrace = () => collector.spans.filter((span) => span.traceId === traceId && span.name !== 'poll')
  await expectTree(collector, ofTrace, clientSpan)
  const serviceOf = (name: string) => ofTrace().find((span) => span.name === name)?.resource['service.name']
  expect(serviceOf('mutation upscaleImage')).toBe('first')
  expect(serviceOf('callback')).toBe('second')
  expect(serviceOf('subscription taskUpdated end')).toBe('second')

  upstream.onCreate = json(200, { code: 200, msg: 'success', data: { taskId: 'upstream-2' } })
  await first.run('mutation { upscaleImage(input: { taskId: "polled", imageIndex: 0 }) { task { id } } }')
  await collector.until((spans) => spans.some(({ name }) => name === 'poll'))
  const poll = collector.spans.find(({ name }) => name === 'poll')
  const readParent = () => collector.spans.find(({ spanId }) => spanId === poll?.parentSpanId)
  await collector.until(() => readParent() !== undefined)
  expect(readParent()?.name).toBe('mutation upscaleImage')
  await collector.until((spans) =>
    spans.some(({ name, parentSpanId }) => name === 'GET lookup' && parentSpanId === poll?.spanId),
  )
}, 60_000)
