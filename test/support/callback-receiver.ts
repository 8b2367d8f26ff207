import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'

interface Callback<Body> {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: Body
}

/** Takes callbacks as a customer of the vendor would, and keeps them. */
export interface CallbackReceiver<Body> extends AsyncDisposable {
  readonly url: string
  /** What has come for a path so far. */
  received(path: string): Callback<Body>[]
  /** How many callbacks have come, for whatever path. */
  all(): number
  /** The n-th callback for a path, from 1, as soon as it is there. */
  nth(n: number, path?: string): Promise<Callback<Body>>
  /** From now on callbacks are answered only when the returned function has been called. */
  hold(): () => void
}

export async function startCallbackReceiver<Body>(): Promise<CallbackReceiver<Body>> {
  const callbacks: Callback<Body>[] = []
  const waiting = new Set<() => void>()
  let gate = Promise.resolve()
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      const { url: path = '', headers } = incoming
      callbacks.push({
        path,
        headers,
        body: JSON.parse(Buffer.concat(chunks).toString()) as Body,
      })
      for (const look of waiting) look()
      void gate.then(() => response.end())
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const received = (path: string) => callbacks.filter((callback) => callback.path === path)
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    all: () => callbacks.length,
    nth: (n, path = '/hook') =>
      new Promise((resolve) => {
        const look = () => {
          const callback = received(path)[n - 1]
          if (callback === undefined) return
          waiting.delete(look)
          resolve(callback)
        }
        waiting.add(look)
        look()
      }),
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>()
      gate = promise
      return resolve
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
