/**
 * How long the event loop is blocked by `/metrics` and by filtered lists when the SQLite database holds many
 * tasks: `npm run bench:parts`. The limit is 100 ms.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises'
import { startGateway } from '../test/support/gateway.ts'
import { openTempDir } from '../test/support/temp-dir.ts'

const TASKS = 300_000
const BAR_MS = 100

await using dir = await openTempDir()
const file = `${dir.path}/tasks.db`
await using gateway = await startGateway({ LOG_LEVEL: 'warn', DATABASE_URL: `file:${file}` })
const { data } = await gateway.run<{ upscaleImage: { task: { id: string } } }, never>(
  'HTTP',
  'mutation { upscaleImage(input: { taskId: "x", imageIndex: 0 }) { task { id } } }',
)
const id = data?.upscaleImage.task.id ?? ''
const settled = () => gateway.run('HTTP', `{ upscaleTask(id: "${id}") { status } }`)
while (!JSON.stringify(await settled()).includes('SUCCEEDED')) await turn()
multiply(file)

/** Copies the one task, as tasks of the same owner; one in 10,000 failed. */
function multiply(path: string): void {
  using sqlite = new DatabaseSync(path)
  const columns = sqlite.prepare('select name from pragma_table_info(?)').all('task')
  const names = columns.map(({ name }) => String(name))
  const varied: Record<string, string> = {
    id: `'copy-' || n`,
    status: `iif(n % 10000 = 0, 'FAILED', status)`,
    createdAt: 'createdAt - n',
    pictureDigest: `'copy-' || n`,
  }
  sqlite.exec(`
    with recursive numbers(n) as (select 1 union all select n + 1 from numbers where n < ${TASKS})
    insert into task (${names.join()}) select ${names.map((name) => varied[name] ?? name).join()} from task, numbers`)
}

/** Runs the requests at once; how long the event loop was blocked meanwhile, at most. */
async function measure(name: string, send: () => Promise<unknown>): Promise<void> {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  await pause(10)
  const startedAt = performance.now()
  await send()
  const tookMs = performance.now() - startedAt
  // The histogram records a delay when its next tick has come.
  await pause(10)
  delay.disable()
  const blockedMs = delay.max / 1e6
  const missed = blockedMs > BAR_MS
  if (missed) process.exitCode = 1
  console.log(
    `${name.padEnd(44)} took ${tookMs.toFixed(0).padStart(5)} ms, blocked the event loop ` +
      `${blockedMs.toFixed(0).padStart(5)} ms${missed ? `  MISSES ${BAR_MS} ms` : ''}`,
  )
}

const aliases = (field: string) => `{ ${Array.from({ length: 20 }, (_, n) => `a${n}: ${field}`).join(' ')} }`
const list = (query: string) => () => gateway.run('HTTP', query)
const after = Buffer.from(`${Date.now() - 250_000}:copy`).toString('base64url')
console.log(`${TASKS} tasks of one owner on SQLite`)
await measure('/livez, for comparison', () => fetch(`${gateway.url}/livez`))
await measure('/metrics, four times', () =>
  Promise.all([1, 2, 3, 4].map(async () => (await fetch(`${gateway.url}/metrics`)).text())),
)
const edges = '{ edges { cursor } pageInfo { hasNextPage } }'
await measure('20 filtered lists', list(aliases(`upscaleTasks(status: FAILED) ${edges}`)))
await measure('20 filtered lists of nothing', list(aliases(`upscaleTasks(status: SUBMITTED) ${edges}`)))
await measure(
  '20 filtered lists, far down',
  list(aliases(`upscaleTasks(status: FAILED, after: "${after}") ${edges}`)),
)
await measure('20 lists, far down', list(aliases(`upscaleTasks(after: "${after}") ${edges}`)))
const task = 'id status history { note } images { url } problem { code }'
await measure(
  'four pages of a hundred tasks with everything',
  list(
    `{ ${[1, 2, 3, 4].map((n) => `a${n}: upscaleTasks(first: 100) { edges { node { ${task} } } }`).join(' ')} }`,
  ),
)
const representations = Array.from({ length: 1_000 }, (_, n) => ({
  __typename: 'UpscaleTask',
  id: `copy-${n + 1}`,
}))
const ENTITIES = `query ($representations: [_Any!]!) {
  _entities(representations: $representations) { ... on UpscaleTask { ${task} } }
}`
await measure('1,000 entities', () => gateway.run('HTTP', ENTITIES, { representations }))
