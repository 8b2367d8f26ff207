import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'

/** A request that the upstream has received. */
export interface Received {
  readonly method: string
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
  /** The client's port: another one is another connection. */
  readonly port: number | undefined
}

export type Answer = (response: ServerResponse, request: Received) => void

/** An upstream that answers exactly as a test says, over real HTTP. */
export interface ScriptedUpstream extends AsyncDisposable {
  readonly url: string
  readonly received: Received[]
  /** How create requests are answered from now on. */
  onCreate: Answer
  /** How record-info requests are answered from now on. */
  onLookup: Answer
}

/** With `tls` it speaks https. */
export async function startScriptedUpstream(tls?: { key: string; cert: string }): Promise<ScriptedUpstream> {
  const received: Received[] = []
  const listen = (incoming: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      const { method = '', url = '', headers } = incoming
      const request = {
        method,
        path: url,
        headers,
        body: Buffer.concat(chunks).toString(),
        port: incoming.socket.remotePort,
      }
      received.push(request)
      if (method === 'POST') upstream.onCreate(response, request)
      else upstream.onLookup(response, request)
    })
  }
  const server = tls === undefined ? createServer(listen) : createHttpsServer(tls, listen)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const upstream: ScriptedUpstream = {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    onCreate: json(200, { code: 200, msg: 'success', data: { taskId: 'upstream-1' } }),
    onLookup: json(200, { code: 422, msg: 'recordInfo is null', data: null }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return upstream
}

/** An answer with a JSON body. */
export function json(status: number, body: unknown, headers: Record<string, string> = {}): Answer {
  return text(status, JSON.stringify(body), { 'content-type': 'application/json', ...headers })
}

/** An answer with any body. */
export function text(status: number, body: string, headers: Record<string, string> = {}): Answer {
  return (response) => response.writeHead(status, headers).end(body)
}
