import { createHmac } from 'node:crypto'
import got from 'got'
import type { KeptTasks, SandboxTask } from './kept-tasks.ts'
import { toMessage } from './messages.ts'
import { toScenario } from './scenario.ts'

export interface CompletionOptions {
  /** How long an upscale takes, unless its source task id says otherwise. */
  readonly completeAfterMs?: number
  /** Signs callbacks, as the vendor does for accounts that have switched it on. */
  readonly webhookKey?: string
  /** Callbacks go to URLs under this base only. Absent: to any URL. */
  readonly callbackBase?: () => string
  readonly log: { warn(facts: object, sentence: string): void }
}

/** Completes tasks and sends their callbacks. */
export interface Completions {
  toScenario(sourceTaskId: string): ReturnType<typeof toScenario>
  /** Completes a task and resolves when its callbacks have been sent. Logs what fails. */
  complete(task: SandboxTask): Promise<void>
  /** The same, after this many milliseconds. */
  completeLater(task: SandboxTask, ms: number): void
  /** Resumes the tasks that were pending when the last process ended. */
  resume(): Promise<void>
  /** Completes no further tasks. */
  stop(): void
}

export function createCompletions(tasks: KeptTasks, options: CompletionOptions): Completions {
  const { log, callbackBase } = options
  const timers = new Set<NodeJS.Timeout>()
  let stopped = false
  const scenarioOf = (sourceTaskId: string) => toScenario(sourceTaskId, options.completeAfterMs ?? 2_000)
  const isAllowed = (url: string) => callbackBase === undefined || isUnder(url, callbackBase())

  const complete = async (task: SandboxTask): Promise<void> => {
    if (stopped) return
    const { id, request } = task
    try {
      if (!(await tasks.complete(id, Date.now()))) return
    } catch (err) {
      log.warn({ err, upstreamTaskId: id }, 'sandbox: storing a completion failed; record-info tells it')
      return
    }
    const { callbacks, completionCode } = scenarioOf(request.taskId)
    if (request.callBackUrl === null) return
    if (!isAllowed(request.callBackUrl)) {
      const sentence = `sandbox: callback not sent: its URL is not under ${callbackBase?.() ?? ''}`
      log.warn({ upstreamTaskId: id }, sentence)
      return
    }
    for (let copy = 0; copy < callbacks; copy += 1)
      await callBack(request.callBackUrl, task, completionCode, options)
  }

  const completeLater = (task: SandboxTask, ms: number): void => {
    if (stopped) return
    const timer = setTimeout(() => {
      timers.delete(timer)
      void complete(task)
    }, ms)
    timers.add(timer)
  }

  return {
    toScenario: scenarioOf,
    complete,
    completeLater,
    async resume() {
      for (const task of await tasks.pending()) {
        const { callBackUrl } = task.request
        // Tasks of another replica: it completes them itself, and `dueAt` does if it is gone.
        if (callBackUrl !== null && !isAllowed(callBackUrl)) continue
        completeLater(task, Math.max(0, task.dueAt - Date.now()))
      }
    },
    stop() {
      stopped = true
      for (const timer of timers) clearTimeout(timer)
    },
  }
}

function isUnder(url: string, base: string): boolean {
  return URL.canParse(url) && new URL(url).href.startsWith(new URL(base).href)
}

/** Posts completion once; the upstream's retries after 1, 5 and 15 minutes are not simulated. */
async function callBack(
  url: string,
  { id, request, resultUrl }: SandboxTask,
  code: number,
  { webhookKey, log }: CompletionOptions,
): Promise<void> {
  const resultUrls = code === 200 ? [resultUrl] : []
  const data = { taskId: id, promptJson: JSON.stringify({ taskId: request.taskId }), resultUrls }
  try {
    const { statusCode } = await got.post(url, {
      json: { code, msg: toMessage(code), data },
      headers: webhookKey === undefined ? {} : sign(webhookKey, id),
      retry: { limit: 0 },
      followRedirect: false,
      throwHttpErrors: false,
      timeout: { request: 15_000 },
    })
    if (statusCode < 200 || statusCode > 299)
      log.warn({ upstreamTaskId: id, status: statusCode }, 'sandbox: a callback was not taken')
  } catch (error) {
    // Not the message: it holds the URL, and the URL the token.
    const { code } = error as { code?: string }
    log.warn({ upstreamTaskId: id, code }, 'sandbox: a callback was not taken')
  }
}

function sign(key: string, taskId: string): Record<string, string> {
  const timestamp = String(Math.floor(Date.now() / 1_000))
  const signature = createHmac('sha256', key).update(`${taskId}.${timestamp}`).digest('base64')
  return { 'x-webhook-timestamp': timestamp, 'x-webhook-signature': signature }
}
