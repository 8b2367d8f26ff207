import { json, text, type ScriptedUpstream } from './scripted-upstream.ts'

interface Picture {
  readonly taskId: string
  readonly imageIndex: number
  readonly callBackUrl: string
}

/**
 * Plays grids of four pictures: 0 is accepted and succeeds, 1 is refused at once with 402, 2 is accepted and
 * fails with 501, and 3 is refused as busy until the grid is settled, then accepted, and succeeds.
 */
export function playGrids(upstream: ScriptedUpstream) {
  const settling = new Set<string>()
  const accepted = new Map<string, PromiseWithResolvers<Picture>>()
  const toKey = (taskId: string, imageIndex: number) => `${taskId}-${imageIndex}`
  const acceptanceOf = (key: string) => {
    const acceptance = accepted.get(key) ?? Promise.withResolvers<Picture>()
    accepted.set(key, acceptance)
    return acceptance
  }
  const toAnswer = (picture: Picture) => {
    const { taskId, imageIndex } = picture
    if (imageIndex === 1) return json(200, { code: 402, msg: 'No credits.', data: null })
    if (imageIndex === 3 && !settling.has(taskId)) return text(429, 'busy', { 'retry-after': '1' })
    const key = toKey(taskId, imageIndex)
    acceptanceOf(key).resolve(picture)
    return json(200, { code: 200, msg: 'success', data: { taskId: key } })
  }
  upstream.onLookup = json(500, {})
  upstream.onCreate = (response, request) => {
    toAnswer(JSON.parse(request.body) as Picture)(response, request)
  }
  /** Sends the callback about a picture once it has been accepted. */
  const callBack = async (key: string, code: number) => {
    const { callBackUrl } = await acceptanceOf(key).promise
    const resultUrls = code === 200 ? [`https://example.com/${key}.png`] : []
    const body = JSON.stringify({ code, msg: 'x', data: { taskId: key, resultUrls } })
    const { status } = await fetch(callBackUrl, { method: 'POST', body })
    if (status !== 200) throw new Error(`The callback was answered with ${status}`)
  }
  return {
    /** Settles the tasks of a source task, the failure first. */
    async settle(taskId: string) {
      settling.add(taskId)
      await callBack(toKey(taskId, 2), 501)
      await callBack(toKey(taskId, 0), 200)
      await callBack(toKey(taskId, 3), 200)
    },
  }
}
