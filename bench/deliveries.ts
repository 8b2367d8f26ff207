/**
 * The latency of deliveries while another receiver hangs: `npm run bench:parts`. 100 tasks a second
 * for ten seconds, each tenth for a receiver that never answers. The bar for all others is a second.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { startGateway } from '../test/support/gateway.ts'
import { json, startScriptedUpstream } from '../test/support/scripted-upstream.ts'

const TASKS = 1_000
const PER_SECOND = 100
const BAR_MS = 1_000

await using upstream = await startScriptedUpstream()
await using quick = await startScriptedUpstream()
await using hanging = await startScriptedUpstream()
let created = 0
const callBackUrls = new Map<string, string>()
upstream.onCreate = (response, request) => {
  const taskId = `upstream-${(created += 1)}`
  const { callBackUrl } = JSON.parse(request.body) as { callBackUrl: string }
  callBackUrls.set(callBackUrl.split('/').at(-2) ?? '', `${taskId} ${callBackUrl}`)
  json(200, { code: 200, data: { taskId } })(response, request)
}
hanging.onCreate = () => undefined
const settledAt = new Map<string, number>()
const delays: number[] = []
quick.onCreate = (response, { body }) => {
  const { data } = JSON.parse(body) as { data: { taskId: string } }
  delays.push(performance.now() - (settledAt.get(data.taskId) ?? NaN))
  response.end()
}

{
  await using gateway = await startGateway({
    UPSTREAM_URL: upstream.url,
    CALLBACK_ALLOW_HOSTS: '127.0.0.1',
    LOG_LEVEL: 'error',
    DRAIN_MS: '0',
  })
  const submit = async (n: number) => {
    const callBackUrl = `${n % 10 === 0 ? hanging.url : quick.url}/${n}`
    const { data } = await gateway.run<{ upscaleImage: { task: { id: string } } }, never>(
      'HTTP',
      `mutation { upscaleImage(input: {taskId: "t", imageIndex: 0, force: true, callBackUrl: "${callBackUrl}"}) { task { id } } }`,
    )
    const id = data?.upscaleImage.task.id ?? ''
    const [taskId, url = ''] = callBackUrls.get(id)?.split(' ') ?? []
    // From before the callback: what is measured holds its commit, too.
    settledAt.set(id, performance.now())
    const body = JSON.stringify({ code: 200, data: { taskId, resultUrls: ['https://example.com/x.png'] } })
    await (await fetch(url, { method: 'POST', body })).text()
  }
  const startedAt = performance.now()
  const submits: Promise<void>[] = []
  for (let n = 0; n < TASKS; n += 1) {
    await pause(Math.max(0, startedAt + (n * 1_000) / PER_SECOND - performance.now()))
    submits.push(submit(n))
  }
  await Promise.all(submits)
  const seconds = (performance.now() - startedAt) / 1_000
  while (delays.length < TASKS * 0.9) await pause(10)
  delays.sort((a, b) => a - b)
  const at = (share: number) => delays[Math.ceil(share * delays.length) - 1] ?? 0
  console.log(
    `${TASKS} tasks at ${(TASKS / seconds).toFixed(0)} a second, each tenth for a receiver that hangs`,
  )
  for (const [name, ms] of [
    ['half of the others are told within', at(0.5)],
    ['99 % within', at(0.99)],
    ['the last within', at(1)],
  ] as const) {
    const missed = ms > BAR_MS
    if (missed) process.exitCode = 1
    console.log(
      `  ${name.padEnd(56)} ${ms.toFixed(1).padStart(8)} ms${missed ? `  MISSES ${BAR_MS} ms` : ''}`,
    )
  }
  console.log(`  attempts at the hanging one: ${hanging.received.length}`)
}
