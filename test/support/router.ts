import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A message of Apollo's callback/1.0, as a router gets it. */
export interface RouterMessage {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly kind: string
  readonly action: 'check' | 'next' | 'complete'
  readonly id: string
  readonly verifier: string
  readonly payload?: { data?: unknown; errors?: { message: string; extensions: Record<string, unknown> }[] }
  readonly errors?: { message: string; extensions: Record<string, unknown> }[]
}

/** The end of a router at which subgraphs post the events of subscriptions. */
export interface ScriptedRouter extends AsyncDisposable {
  readonly url: string
  readonly messages: RouterMessage[]
  /** The HTTP status of its answers. */
  status: number
  /** The status of the answer to this message; `status` unless set. */
  answer: ((message: RouterMessage) => number | Promise<number>) | undefined
  /** The next message that was not taken yet, of this action or of any. */
  next(action?: RouterMessage['action']): Promise<RouterMessage>
}

export async function startScriptedRouter(): Promise<ScriptedRouter> {
  const messages: RouterMessage[] = []
  let taken = 0
  let arrived = Promise.withResolvers<void>()
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const message = JSON.parse(body) as RouterMessage
      messages.push({ ...message, path: request.url ?? '', headers: request.headers })
      arrived.resolve()
      arrived = Promise.withResolvers()
      void Promise.resolve(router.answer?.(message) ?? router.status).then((status) =>
        response.writeHead(status, { 'subscription-protocol': 'callback/1.0' }).end(),
      )
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const router: ScriptedRouter = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    messages,
    status: 204,
    answer: undefined,
    async next(action) {
      for (;;) {
        const message = messages[taken]
        if (message === undefined) await arrived.promise
        else {
          taken += 1
          if (action === undefined || message.action === action) return message
        }
      }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return router
}
