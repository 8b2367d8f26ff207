import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import { FollowTaskDocument, UpscaleImageDocument } from '../generated/operations.ts'
import { startGateway } from '../support/gateway.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'

test('/metrics counts what happens, and names nobody', async () => {
  await using upstream = await startScriptedUpstream()
  await using receiver = await startScriptedUpstream()
  upstream.onLookup = json(200, { code: 200, data: { successFlag: 3, errorCode: 501 } })
  await using gateway = await startGateway({ UPSTREAM_URL: upstream.url, CALLBACK_ALLOW_HOSTS: '127.0.0.1' })
  const metrics = async () => {
    const response = await fetch(`${gateway.url}/metrics`)
    expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    return response.text()
  }
  const submit = async (taskId: string) => {
    const input = { taskId, imageIndex: 0, callBackUrl: receiver.url }
    const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
    return data?.upscaleImage?.task?.id ?? ''
  }
  const id = await submit('secret-source')
  const stream = gateway.follow(FollowTaskDocument, { id })
  await stream.next()
  const open = await metrics()
  expect(open).toMatch(/^upscale_sockets_open 1$/m)
  expect(open).toMatch(/^upscale_subscriptions_open 1$/m)
  expect(open).toMatch(/^upscale_tasks\{status="PROCESSING"\} 1$/m)

  const { callBackUrl } = JSON.parse(upstream.received[0]?.body ?? '') as { callBackUrl: string }
  const post = (url: string, body: string) => fetch(url, { method: 'POST', body })
  await post(`${callBackUrl}x`, '{}')
  await post(callBackUrl, 'nonsense')
  await post(callBackUrl, JSON.stringify({ code: 500, data: { taskId: 'upstream-1' } }))
  upstream.onCreate = json(200, { code: 402, msg: 'x' })
  await submit('another')
  while (!(await metrics()).includes('upscale_deliveries_total{outcome="delivered"} 2')) await turn()
  const text = await metrics()
  for (const line of [
    'upscale_callbacks_total{status="403"} 1',
    'upscale_callbacks_total{status="400"} 1',
    'upscale_callbacks_total{status="200"} 1',
    'upscale_upstream_seconds_count{engine="kie-midjourney",operation="submit",code="200"} 1',
    'upscale_upstream_seconds_count{engine="kie-midjourney",operation="submit",code="402"} 1',
    'upscale_upstream_seconds_count{engine="kie-midjourney",operation="lookup",code="200"} 1',
    'upscale_tasks{status="FAILED"} 2',
    'upscale_tasks{status="PROCESSING"} 0',
    'upscale_queue_tasks 0',
  ])
    expect(text.split('\n')).toContain(line)
  expect(text).toContain('upscale_hint_lag_seconds_count 0')
  expect(text).toContain('process_resident_memory_bytes')
  for (const word of ['secret-source', id, callBackUrl.split('/').at(-1), '127.0.0.1'])
    expect(text).not.toContain(word)
})

test('/metrics goes on without the database, and leaves out what it would have to ask it', async () => {
  await using gateway = await startGateway()
  await gateway.breakStore()
  const response = await fetch(`${gateway.url}/metrics`)
  expect(response.status).toBe(200)
  const text = await response.text()
  expect(text).toContain('upscale_sockets_open 0')
  expect(text).not.toContain('upscale_tasks{')
  expect(text).not.toMatch(/^upscale_queue_tasks/m)
  for (const metric of ['upscale_tasks', 'upscale_polls_overdue', 'upscale_queue_tasks'])
    expect(text).toContain(`upscale_collect_failures_total{metric="${metric}"} 1`)
  expect(gateway.log()).toContain('failed to collect a metric: it is left out of /metrics')
})
