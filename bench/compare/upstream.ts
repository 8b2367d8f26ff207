/** The upstream's part: accepts at once, or after a while. */
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'

export interface StubUpstream extends AsyncDisposable {
  readonly url: string
  /** How long it takes over an answer, in milliseconds. */
  delayMs: number
  /** How long it has held the request for each source task id, in milliseconds. */
  readonly held: Map<string, number>
}

export async function startStubUpstream(): Promise<StubUpstream> {
  let accepted = 0
  const held = new Map<string, number>()
  const server = createServer((request, response) => {
    const arrivedAt = performance.now()
    let body = ''
    request.setEncoding('utf8')
    request.on('data', (text: string) => (body += text))
    request.on('end', () => {
      const answer = () => {
        accepted += 1
        response.setHeader('content-type', 'application/json')
        response.end(`{"code":200,"msg":"success","data":{"taskId":"upstream-${accepted}"}}`)
        if (stub.delayMs > 0)
          held.set((JSON.parse(body) as { taskId: string }).taskId, performance.now() - arrivedAt)
      }
      if (stub.delayMs === 0) answer()
      else setTimeout(answer, stub.delayMs)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stub: StubUpstream = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    delayMs: 0,
    held,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
  return stub
}
