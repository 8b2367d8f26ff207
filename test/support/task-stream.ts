import { expect } from '@jest/globals'
import { openEventStream } from './event-stream.ts'
import type { ScriptedRouter } from './router.ts'
import { openReadySocket } from './socket.ts'

export const STREAM_TRANSPORTS = ['WebSocket', 'server-sent events', 'router callbacks'] as const
type StreamTransport = (typeof STREAM_TRANSPORTS)[number]

/** A payload with data, or with errors; the data of a subscription has one field. */
interface Payload {
  readonly data?: Record<string, StreamedTask | null> | null
  readonly errors?: readonly { readonly path?: unknown; readonly extensions: Record<string, unknown> }[]
}
interface StreamedTask {
  readonly id: string
  readonly version: number
  readonly status: string
  readonly problem?: { readonly code: string } | null
}

interface StreamRequest {
  readonly url: string
  readonly query: string
  readonly variables?: Record<string, unknown>
  /** Null: none. */
  readonly authorization: string | null
}

/** A subscription, and how to read it: `next` resolves to undefined at its end. */
export interface TaskStream extends AsyncDisposable {
  next(): Promise<Payload | undefined>
}

/** Subscribes over a transport. Only router callbacks need the router. */
export function openTaskStream(
  transport: StreamTransport,
  request: StreamRequest,
  router: ScriptedRouter,
): Promise<TaskStream> {
  if (transport === 'WebSocket') return openOnSocket(request)
  return transport === 'server-sent events' ? openOnEventStream(request) : openOnRouter(request, router)
}

export async function openOnSocket(request: StreamRequest): Promise<TaskStream> {
  const { url, query, variables, authorization } = request
  const socket = await openReadySocket(url, authorization === null ? undefined : { authorization })
  socket.send({ id: 'x', type: 'subscribe', payload: { query, variables } })
  return {
    async next() {
      const frame = (await socket.next()) as { type: string; payload: Payload & Payload['errors'] }
      if (frame.type === 'error') return { errors: frame.payload }
      return frame.type === 'next' ? frame.payload : undefined
    },
    [Symbol.asyncDispose]() {
      socket[Symbol.dispose]()
      return Promise.resolve()
    },
  }
}

/** Sends a Last-Event-ID, and expects events without ids. */
async function openOnEventStream({ url, authorization, ...request }: StreamRequest): Promise<TaskStream> {
  const headers = { ...(authorization !== null && { authorization }), 'last-event-id': '2' }
  const stream = await openEventStream<Payload>(url, { ...request, headers })
  return {
    async next() {
      const event = await stream.next()
      expect(event?.id).toBeUndefined()
      return event?.data
    },
    [Symbol.asyncDispose]() {
      stream[Symbol.dispose]()
      return Promise.resolve()
    },
  }
}

let subscriptions = 0

async function openOnRouter(request: StreamRequest, router: ScriptedRouter): Promise<TaskStream> {
  const { url, query, variables, authorization } = request
  subscriptions += 1
  const subscription = {
    callbackUrl: `${router.url}/callback/${subscriptions}`,
    subscriptionId: String(subscriptions),
    verifier: 'verifier',
    heartbeatIntervalMs: 0,
  }
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json;callbackSpec=1.0',
      ...(authorization !== null && { authorization }),
    },
    body: JSON.stringify({ query, variables, extensions: { subscription } }),
  })
  const { errors } = (await response.json()) as Payload
  let refusals = errors === undefined ? [] : [{ errors }]
  return {
    async next() {
      const [refusal] = refusals
      refusals = []
      if (refusal !== undefined) return refusal
      for (;;) {
        const { action, payload } = await router.next()
        if (action === 'next') return payload as Payload
        if (action === 'complete') return undefined
      }
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}
