/** An upstream that counts paid requests, calls back through a load balancer, and answers polls. */
import { setTimeout as pause } from 'node:timers/promises'
import { json, startScriptedUpstream, type Received } from '../../test/support/scripted-upstream.ts'
import { toConnectionKind } from './errors.ts'

const RESULT = 'https://example.com/result.png'
/** How long the answer to a paid request and the work take, in milliseconds. */
const ANSWER_MS = [50, 1_000] as const
const WORK_MS = [500, 2_000] as const
/** The share of tasks that are never called back, so that polls settle them. */
const LOST_CALLBACKS = 0.1
const CALLBACK_ATTEMPTS = 6
const CALLBACK_RETRY_MS = 1_000

interface PaidTask {
  readonly source: string
  readonly callBackUrl: string
  /** On the monotonic clock; null: the work runs. */
  doneAt: number | null
}

type Upstream = Awaited<ReturnType<typeof startPaidUpstream>>
export type { Upstream }

/** `pickTarget`: the base of the URL that a callback goes to, as a load balancer chooses it. */
export async function startPaidUpstream(pickTarget: () => string) {
  const upstream = await startScriptedUpstream()
  const tasks = new Map<string, PaidTask>()
  const paid = new Map<string, number>()
  const callbackAnswers = new Map<string, number>()
  const callbacks = new Set<Promise<void>>()

  async function send(body: string, path: string): Promise<boolean> {
    const answer = await fetch(new URL(path, pickTarget()), { method: 'POST', body }).then(
      async (response) => {
        await response.text()
        return String(response.status)
      },
      (error: unknown) => toConnectionKind(Error.isError(error) ? error.cause : error),
    )
    callbackAnswers.set(answer, (callbackAnswers.get(answer) ?? 0) + 1)
    return answer === '200'
  }

  async function work(id: string, task: PaidTask): Promise<void> {
    await pause(between(WORK_MS))
    task.doneAt = performance.now()
    if (Math.random() < LOST_CALLBACKS) return
    const body = JSON.stringify({ code: 200, data: { taskId: id, resultUrls: [RESULT] } })
    const { pathname } = new URL(task.callBackUrl)
    for (let attempt = 0; attempt < CALLBACK_ATTEMPTS && !(await send(body, pathname)); attempt += 1)
      await pause(CALLBACK_RETRY_MS)
  }

  upstream.onCreate = (response, { body }: Received) => {
    const { taskId: source, callBackUrl } = JSON.parse(body) as { taskId: string; callBackUrl: string }
    paid.set(source, (paid.get(source) ?? 0) + 1)
    const id = `paid-${tasks.size + 1}`
    const task = { source, callBackUrl, doneAt: null }
    tasks.set(id, task)
    const answer = json(200, { code: 200, msg: 'success', data: { taskId: id } })
    setTimeout(() => answer(response, { body } as Received), between(ANSWER_MS))
    const callback = work(id, task)
    callbacks.add(callback)
    void callback.finally(() => callbacks.delete(callback))
  }
  upstream.onLookup = (response, request) => {
    const id = new URL(request.path, upstream.url).searchParams.get('taskId') ?? ''
    const task = tasks.get(id)
    const resultInfoJson = { resultUrls: [{ resultUrl: RESULT }] }
    const isDone = (task?.doneAt ?? null) !== null
    const record = isDone ? { successFlag: 1, resultInfoJson } : { successFlag: 0 }
    json(200, task ? { code: 200, data: { taskId: id, ...record } } : { code: 422, data: null })(
      response,
      request,
    )
  }

  return {
    url: upstream.url,
    /** How often each source task was paid. */
    paid,
    /** How callbacks were answered, by HTTP status or connection failure. */
    callbackAnswers,
    /** Resolves when no callback is under way. */
    idle: async () => {
      while (callbacks.size > 0) await Promise.all(callbacks)
    },
    [Symbol.asyncDispose]: () => upstream[Symbol.asyncDispose](),
  }
}

function between([least, most]: readonly [number, number]): number {
  return least + Math.random() * (most - least)
}
