import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { isDeepStrictEqual } from 'node:util'
import { expect } from '@jest/globals'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { startCallbackReceiver } from './callback-receiver.ts'
import type { OtlpCollector, ReceivedSpan } from './otlp-collector.ts'
import type { ScriptedUpstream } from './scripted-upstream.ts'

/** Before the time of a test ends. */
const GIVE_UP_MS = 20_000

export const TRACED_SETTINGS = {
  PUBLIC_URL: 'http://gateway.example.com',
  CALLBACK_SIGNING_SECRETS: 'whsec_c2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nzg5',
  CALLBACK_ALLOW_HOSTS: '127.0.0.1',
  OTEL_BSP_SCHEDULE_DELAY: '100',
}

const randomTraceparent = () => `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`

/**
 * What a user does with one task, in one trace: submits it at one replica, follows it at another, which also
 * gets the callback of the upstream, and receives the delivery.
 */
export async function runTracedTask(
  upstream: ScriptedUpstream,
  { submitUrl, callbackUrl }: { readonly submitUrl: string; readonly callbackUrl: string },
) {
  await using receiver = await startCallbackReceiver<unknown>()
  const traceparent = randomTraceparent()
  const query = `mutation Enlarge { upscaleImage(input: {
    taskId: "${randomBytes(4).toString('hex')}", imageIndex: 0, callBackUrl: "${receiver.url}/done"
  }) { task { id correlationId } problem { code } } }`
  const response = await fetch(`${submitUrl}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', traceparent },
    body: JSON.stringify({ query }),
  })
  const { data } = (await response.json()) as {
    data: { upscaleImage: { task: { id: string; correlationId: string } } }
  }
  const { task } = data.upscaleImage
  const submit = upstream.received.find(({ method }) => method === 'POST')
  const { callBackUrl } = JSON.parse(submit?.body ?? '') as { callBackUrl: string }

  const client = createClient({
    url: `${callbackUrl.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { traceparent },
    retryAttempts: 0,
  })
  const document = `subscription Follow { taskUpdated(id: "${task.id}") {
    status history { correlationId } } }`
  const states: { status: string; history: { correlationId: string }[] }[] = []
  const events = client.iterate<{ taskUpdated: (typeof states)[number] }>({ query: document })
  let isCalledBack = false
  for await (const event of events) {
    if (event.data) states.push(event.data.taskUpdated)
    if (isCalledBack) continue
    isCalledBack = true
    await fetch(callbackUrl + new URL(callBackUrl).pathname, {
      method: 'POST',
      body: JSON.stringify({
        code: 200,
        msg: 'success',
        data: { taskId: 'upstream-1', resultUrls: ['https://example.com/result.png'] },
      }),
    })
  }
  await client.dispose()
  const delivery = await receiver.nth(1, '/done')
  return {
    traceparent,
    task,
    response,
    states,
    toUpstream: submit?.headers.traceparent,
    toReceiver: delivery.headers.traceparent,
  }
}

/** The names of the spans of a trace as a tree, each level in the order of the names. */
export function toTree(spans: readonly ReceivedSpan[], parentSpanId: string): object {
  const children = spans.filter((span) => span.parentSpanId === parentSpanId)
  return Object.fromEntries(
    children
      .sort((one, other) => (one.name < other.name ? -1 : 1))
      .map((span) => [span.name, toTree(spans, span.spanId)]),
  )
}

/** The tree under the span of the client. */
const TREE = {
  'mutation upscaleImage': {
    COMMIT: {},
    'POST delivery': {},
    'POST submit': {},
    callback: { COMMIT: {} },
  },
  'subscription taskUpdated': { 'subscription taskUpdated end': {} },
}

/**
 * Waits until the spans of a trace have arrived, those of each replica when it exports them; fails with the
 * difference.
 */
export async function expectTree(
  collector: OtlpCollector,
  readSpans: () => readonly ReceivedSpan[],
  clientSpan: string,
): Promise<void> {
  const readTree = () => toTree(readSpans(), clientSpan)
  const arrived = collector.until(() => isDeepStrictEqual(readTree(), TREE))
  await Promise.race([arrived, once(AbortSignal.timeout(GIVE_UP_MS), 'abort')])
  expect(readTree()).toEqual(TREE)
}
