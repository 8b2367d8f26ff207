import { expect, test } from '@jest/globals'
import { startOtlpCollector } from '../support/otlp-collector.ts'
import { startProcess } from '../support/process.ts'
import { startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { expectTree, runTracedTask, TRACED_SETTINGS } from '../support/traced-task.ts'

/** Span kinds of the protocol. */
const SERVER = 2
const CLIENT = 3
/** The part of the bundle with the SDK of OpenTelemetry. */
const SDK = /^loaded .*\/dist\/sdk-/m
const MODULE_LOG = { NODE_OPTIONS: '--import=./test/support/module-log.mjs' }

/** Ends the service, so that its log is complete. */
async function stop({ child, exited }: Awaited<ReturnType<typeof startProcess>>): Promise<void> {
  child.kill('SIGTERM')
  await exited
}

test('one trace shows a task from the mutation to the delivery', async () => {
  await using dir = await openTempDir()
  await using collector = await startOtlpCollector()
  await using upstream = await startScriptedUpstream()
  const { url } = upstream
  await using service = await startProcess({
    ...TRACED_SETTINGS,
    ...MODULE_LOG,
    DATABASE_URL: `file:${dir.path}/t.db`,
    UPSTREAM_URL: url,
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_SERVICE_NAME: 'gateway of the test',
  })
  const done = await runTracedTask(upstream, { submitUrl: service.url, callbackUrl: service.url })
  const [, traceId = '', clientSpan = ''] = done.traceparent.split('-')
  const ofTrace = () => collector.spans.filter((span) => span.traceId === traceId)
  await expectTree(collector, ofTrace, clientSpan)
  const find = (name: string) => ofTrace().find((span) => span.name === name)
  expect(find('POST submit')).toMatchObject({
    kind: CLIENT,
    attributes: {
      'http.request.method': 'POST',
      'server.address': '127.0.0.1',
      'http.response.status_code': 200,
    },
  })
  expect(find('COMMIT')?.attributes).toMatchObject({ 'db.system.name': 'sqlite' })
  expect(find('mutation upscaleImage')).toMatchObject({
    kind: SERVER,
    attributes: {
      'graphql.operation.type': 'mutation',
      'graphql.operation.name': 'Enlarge',
      'upscale.correlation_id': done.task.correlationId,
    },
    resource: { 'service.name': 'gateway of the test' },
  })
  expect(find('callback')?.attributes).toMatchObject({
    'upscale.task.id': done.task.id,
    'upscale.correlation_id': done.task.correlationId,
  })
  expect(done.toUpstream).toBe(`00-${traceId}-${find('POST submit')?.spanId ?? ''}-01`)
  expect(done.toReceiver).toBe(`00-${traceId}-${find('POST delivery')?.spanId ?? ''}-01`)
  expect(service.output()).toMatch(SDK)
}, 60_000)

test('without its variables no module of the SDK is loaded, and a trace is passed on', async () => {
  await using dir = await openTempDir()
  await using upstream = await startScriptedUpstream()
  await using service = await startProcess({
    ...TRACED_SETTINGS,
    ...MODULE_LOG,
    DATABASE_URL: `file:${dir.path}/t.db`,
    UPSTREAM_URL: upstream.url,
  })
  const done = await runTracedTask(upstream, { submitUrl: service.url, callbackUrl: service.url })
  expect(done.toUpstream).toBe(done.traceparent)
  expect(done.toReceiver).toBe(done.traceparent)
  expect(service.output()).not.toMatch(SDK)
}, 60_000)

test('a response, the log, the history and the problem of a task have one correlation id', async () => {
  await using dir = await openTempDir()
  await using upstream = await startScriptedUpstream()
  await using service = await startProcess({
    ...TRACED_SETTINGS,
    DATABASE_URL: `file:${dir.path}/t.db`,
    UPSTREAM_URL: upstream.url,
  })
  const done = await runTracedTask(upstream, { submitUrl: service.url, callbackUrl: service.url })
  await stop(service)
  const { correlationId } = done.task
  expect(done.response.headers.get('x-correlation-id')).toBe(correlationId)
  const lines = service
    .output()
    .split('\n')
    .filter((line) => line.includes(done.task.id))
    .map((line) => JSON.parse(line) as { msg: string; correlationId: string })
  const sentences = lines.map(({ msg }) => msg)
  for (const sentence of ['the upstream has answered', 'a task changed', 'a delivery'])
    expect(sentences.some((each) => each.startsWith(sentence))).toBe(true)
  for (const line of lines) expect(line).toMatchObject({ correlationId })
  for (const { history } of done.states) for (const event of history) expect(event).toEqual({ correlationId })
})

test('the access log has a line for each operation, without variables and the name of the owner', async () => {
  await using dir = await openTempDir()
  await using upstream = await startScriptedUpstream()
  const settings = { ...TRACED_SETTINGS, DATABASE_URL: `file:${dir.path}/t.db`, UPSTREAM_URL: upstream.url }
  const ended = (output: string) =>
    output
      .split('\n')
      .filter((line) => line.includes('an operation ended'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
  {
    await using service = await startProcess(settings)
    await runTracedTask(upstream, { submitUrl: service.url, callbackUrl: service.url })
    await service.run('query Broken { upscaleTask }')
    await service.run('mutation Cancel { cancelUpscale(id: "unknown") { id } }')
    await stop(service)
    expect(ended(service.output())).toMatchObject([
      { type: 'mutation', name: 'Enlarge', fields: 'upscaleImage', code: 'OK', transport: 'http' },
      { type: 'subscription', name: 'Follow', fields: 'taskUpdated', code: 'OK', transport: 'websocket' },
      { type: 'unknown', code: 'GRAPHQL_VALIDATION_FAILED' },
      { type: 'mutation', name: 'Cancel', fields: 'cancelUpscale', code: 'TASK_NOT_FOUND' },
    ])
    expect(String(ended(service.output())[0]?.owner)).toMatch(/^[0-9a-f]{16}$/)
    expect(ended(service.output())[0]?.durationMs).toEqual(expect.any(Number))
  }
  await using silent = await startProcess({ ...settings, ACCESS_LOG: 'off' })
  await silent.run('{ __typename }')
  await stop(silent)
  expect(ended(silent.output())).toEqual([])
})

test.each([
  ['OTEL_TRACES_EXPORTER', 'jaeger', 'it must be otlp or none'],
  ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc', 'it must be http/protobuf'],
])('%s=%s stops the start', async (name, value, remedy) => {
  await using dir = await openTempDir()
  await using service = await startProcess({
    DATABASE_URL: `file:${dir.path}/t.db`,
    OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318',
    [name]: value,
  })
  expect(await service.exited).toMatchObject({ code: 1 })
  expect(service.output()).toContain(`${name}: "${value}" is not supported: ${remedy}`)
})
