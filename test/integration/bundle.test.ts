import { readFile } from 'node:fs/promises'
import { expect, test } from '@jest/globals'
import { startProcess } from '../support/process.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'

// Most tests run the source. These run the bundle, and in it what is loaded late, or runs beside the service.

test('the bundle serves the committed schema', async () => {
  await using dir = await openTempDir()
  await using service = await startProcess({ DATABASE_URL: `file:${dir.path}/own.db` })
  const committed = await readFile('schema/schema.graphql', 'utf8')
  expect(await service.run('{ _service { sdl } }')).toEqual({ data: { _service: { sdl: committed.trim() } } })
})

test('the bundle renders GraphiQL, and serves the console', async () => {
  await using dir = await openTempDir()
  await using service = await startProcess({ DATABASE_URL: `file:${dir.path}/own.db` })
  const headers = { accept: 'text/html' }
  const page = await fetch(`${service.url}/graphql`, { headers })
  expect(await page.text()).toContain('mutation Submit($input: UpscaleImageInput!)')
  const console = await fetch(`${service.url}/console/`, { headers })
  expect(console.status).toBe(200)
})

test('the bundle reads the facts of pictures in its child process, and sends spans', async () => {
  await using dir = await openTempDir()
  await using collector = await startScriptedUpstream()
  collector.onCreate = json(200, {})
  await using service = await startProcess({
    DATABASE_URL: `file:${dir.path}/own.db`,
    RESULT_INSPECT_MS: '60000',
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_TRACES_SAMPLER: 'always_on',
  })
  const submitted = await service.run(
    'mutation { upscaleImage(input: { taskId: "bundle", imageIndex: 0 }) { task { id } problem { code } } }',
  )
  const { data } = submitted as { data: { upscaleImage: { task: { id: string } } } }
  const events = await fetch(`${service.url}/graphql/stream`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({
      query: `subscription { taskUpdated(id: "${data.upscaleImage.task.id}") { status images { width } } }`,
    }),
  })
  // The stream ends with the settled state.
  expect(await events.text()).toMatch(/"status":"SUCCEEDED","images":\[\{"width":\d+\}\]/)
  service.child.kill('SIGTERM')
  await service.exited
  expect(collector.received.map(({ path }) => path)).toContain('/v1/traces')
})

test('a service on SQLite does not load the drivers of PostgreSQL and Redis', async () => {
  const settings = { NODE_OPTIONS: '--import=./test/support/module-log.mjs' }
  await using dir = await openTempDir()
  await using alone = await startProcess({ ...settings, DATABASE_URL: `file:${dir.path}/own.db` })
  const loaded = await readLoaded(alone.output())
  expect(loaded).toContain('fastify')
  expect(loaded).not.toContain('pg')
  expect(loaded).not.toContain('ioredis')
  await using shared = await startProcess({ ...settings, DATABASE_URL: 'postgres://127.0.0.1:1/none' })
  await shared.exited
  expect(await readLoaded(shared.output())).toContain('pg')
})

/** The packages with code in the parts of the bundle that a process has loaded. */
async function readLoaded(output: string): Promise<string[]> {
  const part = new RegExp(`^loaded file://(${process.cwd()}/dist/\\S+\\.js)$`, 'gm')
  const files = [...output.matchAll(part)].map(([, file = '']) => file)
  const maps = await Promise.all(files.map((file) => readFile(`${file}.map`, 'utf8')))
  const sources = maps.flatMap((map) => (JSON.parse(map) as { sources: string[] }).sources)
  return [
    ...new Set(sources.map((source) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(source)?.[1] ?? 'own')),
  ]
}

test('the licences of the packages go with the bundle', async () => {
  const licenses = await readFile('dist/LICENSES.txt', 'utf8')
  for (const name of ['graphql', '@apollo/server', 'ioredis', '@opentelemetry/api'])
    expect(licenses).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+, `, 'm'))
  expect(licenses).toContain('Permission is hereby granted')
})
