import { ManualClock } from './clock.ts'
import { startGateway } from './gateway.ts'
import { startScriptedUpstream } from './scripted-upstream.ts'

export const RESULT = 'https://example.com/result.png'

/** A gateway before a scripted upstream, on a clock that a test moves. */
export async function openScene(settings: Record<string, string> = {}) {
  await using opened = new AsyncDisposableStack()
  const upstream = opened.use(await startScriptedUpstream())
  const clock = new ManualClock()
  const gateway = opened.use(await startGateway({ UPSTREAM_URL: upstream.url, ...settings }, { clock }))
  const rest = opened.move()
  return {
    upstream,
    clock,
    gateway,
    /** Submits a task; `call` is the upstream's callback about it. */
    async submit(authorization?: string) {
      const response = await fetch(`${gateway.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(authorization && { authorization }) },
        body: JSON.stringify({
          query:
            'mutation { upscaleImage(input: { taskId: "source", imageIndex: 0, force: true }) { watchToken task { id } } }',
        }),
      })
      const { data } = (await response.json()) as {
        data: { upscaleImage: { watchToken: string | null; task: { id: string } } }
      }
      const { callBackUrl } = JSON.parse(upstream.received.at(-1)?.body ?? '') as { callBackUrl: string }
      const call = async (body: object) => {
        const { status } = await fetch(callBackUrl, { method: 'POST', body: JSON.stringify(body) })
        if (status !== 200) throw new Error(`The callback was answered with ${status}`)
      }
      const { watchToken, task } = data.upscaleImage
      return {
        id: task.id,
        watchToken,
        succeed: (...resultUrls: string[]) =>
          call({
            code: 200,
            data: { taskId: 'upstream-1', resultUrls: resultUrls.length > 0 ? resultUrls : [RESULT] },
          }),
        fail: (code: number) => call({ code, msg: 'No.', data: { taskId: 'upstream-1' } }),
      }
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
