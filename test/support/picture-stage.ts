import { createHash } from 'node:crypto'
import { startKeeper } from './kept.ts'
import { startScriptedUpstream } from './scripted-upstream.ts'

/** A chunk of a PNG: length, type, data, checksum (which decoders of ancillary chunks ignore). */
export function toPngChunk(type: string, data: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(data.length)
  return Buffer.concat([length, Buffer.from(type + data, 'latin1'), Buffer.alloc(4)])
}

/** A gateway before an upstream whose callbacks and pictures are those of the test. */
export async function openStage(settings: Record<string, string> = {}) {
  await using opened = new AsyncDisposableStack()
  const upstream = opened.use(await startScriptedUpstream())
  const keeper = opened.use(await startKeeper({ UPSTREAM_URL: upstream.url, ...settings }))
  const files = new Map<string, Buffer>()
  const unknown = upstream.onLookup
  upstream.onLookup = (response, request) => {
    const file = files.get(request.path)
    if (file) response.writeHead(200, { 'content-type': 'application/octet-stream' }).end(file)
    else if (request.path.startsWith('/pictures/')) response.writeHead(404).end()
    else unknown(response, request)
  }
  const rest = opened.move()
  return {
    keeper,
    files,
    /**
     * Submits an upscale that succeeds with these pictures of the upstream. Resolves to its id and the link's
     * key.
     */
    async succeed(...paths: string[]) {
      const { data } = await keeper.gateway.run<{ upscaleImage: { task: { id: string } } }, never>(
        'HTTP',
        'mutation { upscaleImage(input: { taskId: "source", imageIndex: 0, force: true }) { task { id } } }',
      )
      const posted = upstream.received.findLast(({ method }) => method === 'POST')
      const { callBackUrl } = JSON.parse(posted?.body ?? '') as { callBackUrl: string }
      const resultUrls = paths.map((path) => upstream.url + path)
      const body = JSON.stringify({ code: 200, data: { taskId: 'upstream-1', resultUrls } })
      await fetch(callBackUrl, { method: 'POST', body })
      const token = callBackUrl.split('/').at(-1) ?? ''
      return {
        id: data?.upscaleImage.task.id ?? '',
        key: createHash('sha256').update(token).digest('base64url'),
      }
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
