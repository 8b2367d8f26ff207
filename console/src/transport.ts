import {
  createClient,
  type Client,
  type FormattedExecutionResult,
  type SubscribePayload,
} from 'graphql-ws/client'
import { toClientOptions } from 'upscale-gateway-client'
import { toGatewayUrl } from './config.ts'
import type { Store } from './store.ts'
import type { Tokens } from './tokens.ts'

/** The socket: not needed, being opened, open, or lost and opened again soon. */
export type Connection = 'idle' | 'connecting' | 'live' | 'waiting'

/** What `followTask` and `followTasks` take. */
export type Transport = Pick<Client, 'iterate'>

const UNAUTHORIZED = 4401
const FORBIDDEN = 4403

/**
 * Streams on one socket, which is opened with the first of them. They survive offline times and refused
 * tokens.
 */
export function createTransport(tokens: Tokens, connection: Store<Connection>): Transport {
  let token: string | undefined
  const url = toGatewayUrl('graphql')
  url.protocol = url.protocol.replace('http', 'ws')
  const options = toClientOptions({
    url: url.href,
    async getAuthorization() {
      token = await tokens.get()
      return token === undefined ? undefined : `Bearer ${token}`
    },
  })
  const client = createClient({
    ...options,
    lazyCloseTimeout: 1_000,
    // Retry as soon as the browser is online.
    retryWait: (retries) => Promise.race([options.retryWait(retries), untilOnline()]),
    on: {
      ...options.on,
      connecting: (isRetry) => connection.set(isRetry ? 'waiting' : 'connecting'),
      connected: () => connection.set('live'),
      closed(event) {
        options.on.closed(event)
        if (isRefusal(event)) tokens.refuse(token)
        const { wasClean, code } = event as Partial<CloseEvent>
        connection.set(wasClean === true && code === 1000 ? 'idle' : 'waiting')
      },
    },
  })
  // A socket notices only after seconds that the network is gone.
  addEventListener('offline', () => {
    if (connection.get() === 'live') client.terminate()
  })
  return { iterate: (payload) => iterate(client, payload, tokens) }
}

function untilOnline(): Promise<void> {
  return new Promise((resolve) => addEventListener('online', () => resolve(), { once: true }))
}

function isRefusal(failure: unknown): boolean {
  const { code } = (failure ?? {}) as { code?: unknown }
  return code === UNAUTHORIZED || code === FORBIDDEN
}

/** A stream of graphql-ws that begins anew with a new token when its token is refused. */
function iterate<Data, Extensions>(
  client: Client,
  payload: SubscribePayload,
  tokens: Tokens,
): AsyncIterableIterator<FormattedExecutionResult<Data, Extensions>> {
  const begin = () => client.iterate<Data, Extensions>(payload)
  let events = begin()
  let isEnded = false
  let end = (): void => undefined
  const untilEnd = new Promise<void>((resolve) => (end = resolve))
  return {
    [Symbol.asyncIterator]() {
      return this
    },
    async next() {
      for (;;) {
        try {
          return await events.next()
        } catch (failure) {
          if (!isRefusal(failure)) throw failure
          await Promise.race([tokens.get(), untilEnd])
          if (isEnded) return { done: true, value: undefined }
          events = begin()
        }
      }
    },
    async return() {
      isEnded = true
      end()
      return (await events.return?.()) ?? { done: true, value: undefined }
    },
  }
}
