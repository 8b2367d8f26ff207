import { createHmac } from 'node:crypto'
import got, { RequestError } from 'got'
import type { KeptTasks, SandboxTask } from './kept-tasks.ts'
import { toMessage } from './messages.ts'
import { toScenario, type Scenario } from './scenario.ts'

export interface CompletionOptions {
  /** How long an upscale takes, unless its source task id states a time. */
  readonly completeAfterMs?: number
  /** Signs callbacks, as the upstream does for accounts with a key. */
  readonly webhookKey?: string
  /** Callbacks go to URLs under this base only. Absent: to any URL. */
  readonly callbackBase?: () => string
  readonly log: { warn(facts: object, sentence: string): void }
}

/** Completes tasks and sends their callbacks. */
export class Completions {
  readonly #tasks: KeptTasks
  readonly #options: CompletionOptions
  readonly #timers = new Set<NodeJS.Timeout>()
  #stopped = false

  constructor(tasks: KeptTasks, options: CompletionOptions) {
    this.#tasks = tasks
    this.#options = options
  }

  toScenario(sourceTaskId: string): Scenario {
    return toScenario(sourceTaskId, this.#options.completeAfterMs ?? 2_000)
  }

  /** Completes a task and resolves when its callbacks have been sent. Logs failures. */
  async complete(task: SandboxTask): Promise<void> {
    if (this.#stopped) return
    const { log, callbackBase } = this.#options
    const facts = { upstreamTaskId: task.id }
    try {
      if (!(await this.#tasks.complete(task.id, Date.now()))) return
    } catch (err) {
      log.warn({ ...facts, err }, 'sandbox: failed to store a completion; record-info reports it')
      return
    }
    const { callBackUrl, taskId } = task.request
    const { callbacks, completionCode } = this.toScenario(taskId)
    if (callBackUrl === null) return
    if (!this.#isAllowed(callBackUrl)) {
      log.warn(facts, `sandbox: callback not sent: its URL is not under ${callbackBase?.() ?? ''}`)
      return
    }
    for (let n = 0; n < callbacks; n += 1)
      await sendCallback(callBackUrl, task, completionCode, this.#options)
  }

  /** Completes a task after this many milliseconds. */
  completeLater(task: SandboxTask, ms: number): void {
    if (this.#stopped) return
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      void this.complete(task)
    }, ms)
    this.#timers.add(timer)
  }

  /** Resumes the tasks that were pending when the last process ended. */
  async resume(): Promise<void> {
    for (const task of await this.#tasks.pending()) {
      const { callBackUrl } = task.request
      // Another replica's task: that replica completes it. If the replica has died, the task completes at `dueAt`.
      if (callBackUrl !== null && !this.#isAllowed(callBackUrl)) continue
      this.completeLater(task, Math.max(0, task.dueAt - Date.now()))
    }
  }

  /** Completes no further tasks. */
  stop(): void {
    this.#stopped = true
    for (const timer of this.#timers) clearTimeout(timer)
  }

  #isAllowed(url: string): boolean {
    const base = this.#options.callbackBase?.()
    return base === undefined || (URL.canParse(url) && new URL(url).href.startsWith(new URL(base).href))
  }
}

/** Posts a callback once; the upstream's retries after 1, 5 and 15 minutes are not simulated. */
async function sendCallback(
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
      headers: webhookKey === undefined ? {} : sign(webhookKey, id, Date.now()),
      retry: { limit: 0 },
      followRedirect: false,
      throwHttpErrors: false,
      timeout: { request: 15_000 },
    })
    if (statusCode < 200 || statusCode > 299)
      log.warn({ upstreamTaskId: id, status: statusCode }, 'sandbox: a callback was not accepted')
  } catch (error) {
    // Only the code is logged: the message contains the URL with the token.
    const code = error instanceof RequestError ? error.code : undefined
    log.warn({ upstreamTaskId: id, code }, 'sandbox: a callback was not accepted')
  }
}

function sign(key: string, taskId: string, now: number): Record<string, string> {
  const timestamp = String(Math.floor(now / 1_000))
  const signature = createHmac('sha256', key).update(`${taskId}.${timestamp}`).digest('base64')
  return { 'x-webhook-timestamp': timestamp, 'x-webhook-signature': signature }
}
