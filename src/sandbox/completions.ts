import { createHmac } from 'node:crypto'
import got, { RequestError } from 'got'
import type { Dialect, TaskState } from './dialect.ts'
import { findDialect } from './dialects.ts'
import type { KeptTasks, SandboxTask } from './kept-tasks.ts'
import { toScenario, type Scenario } from './scenario.ts'

export interface CompletionOptions {
  /** How long an upscale takes, unless its source task id states a time. */
  readonly completeAfterMs?: number
  /** Signs callbacks, as kie.ai does for accounts with a key. */
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

  toScenario(sourceTaskId: string, dialect: string): Scenario {
    return toScenario(sourceTaskId, dialect, this.#options.completeAfterMs ?? 2_000)
  }

  /** Completes a task and resolves when its callbacks have been sent. Logs failures. */
  async complete(task: SandboxTask): Promise<void> {
    if (this.#stopped) return
    const { log, callbackBase } = this.#options
    const facts = { upstreamTaskId: task.id }
    const at = Date.now()
    try {
      if (!(await this.#tasks.complete(task.id, at))) return
    } catch (err) {
      log.warn({ ...facts, err }, 'sandbox: failed to store a completion; a poll reports it')
      return
    }
    const { callBackUrl, taskId } = task.request
    const { callbacks, completionCode: code } = this.toScenario(taskId, task.dialect)
    if (callBackUrl === null) return
    if (!this.#isAllowed(callBackUrl)) {
      log.warn(facts, `sandbox: callback not sent: its URL is not under ${callbackBase?.() ?? ''}`)
      return
    }
    for (let n = 0; n < callbacks; n += 1)
      await this.#call(callBackUrl, task, { kind: 'completed', at, code })
  }

  /**
   * Completes a task after this many milliseconds. Its steps are announced before, if its dialect does so.
   */
  completeLater(task: SandboxTask, ms: number): void {
    void this.#run(task, performance.now(), ms)
  }

  /** One request after the other, so that no callback overtakes an earlier one. */
  async #run(task: SandboxTask, startedAt: number, ms: number): Promise<void> {
    const { taskId, callBackUrl } = task.request
    const dialect = findDialect(task.dialect)
    const steps = dialect?.announcesSteps ? dialect.steps : 0
    const { callbacks } = this.toScenario(taskId, task.dialect)
    if (callBackUrl !== null && callbacks > 0 && this.#isAllowed(callBackUrl))
      for (let step = 0; step < steps; step += 1) {
        await this.#wait(startedAt + (ms * step) / steps - performance.now())
        await this.#call(callBackUrl, task, { kind: 'running', step })
      }
    await this.#wait(Math.max(0, startedAt + ms - performance.now()))
    await this.complete(task)
  }

  /** Never resolves once the sandbox has stopped. */
  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#stopped) return
      const timer = setTimeout(
        () => {
          this.#timers.delete(timer)
          resolve()
        },
        Math.max(0, Math.ceil(ms)),
      )
      this.#timers.add(timer)
    })
  }

  async #call(url: string, task: SandboxTask, state: TaskState): Promise<void> {
    const dialect = findDialect(task.dialect)
    if (dialect) await sendCallback(url, { task, state, dialect }, this.#options)
  }

  /** Resumes the tasks that were pending when the last process ended. */
  async resume(): Promise<void> {
    for (const task of await this.#tasks.pending()) {
      const { callBackUrl } = task.request
      // Another replica's task: that replica completes it. If the replica has died, the task completes at
      // `dueAt`.
      if (callBackUrl !== null && !this.#isAllowed(callBackUrl)) continue
      void this.#wait(task.dueAt - Date.now()).then(() => this.complete(task))
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

interface Callback {
  readonly task: SandboxTask
  readonly state: TaskState
  readonly dialect: Dialect
}

/** Posts a callback once; the upstream's retries after 1, 5 and 15 minutes are not simulated. */
async function sendCallback(
  url: string,
  { task, state, dialect }: Callback,
  { webhookKey, log }: CompletionOptions,
): Promise<void> {
  const { id } = task
  const isSigned = webhookKey !== undefined && dialect.signsCallbacks
  try {
    const { statusCode } = await got.post(url, {
      json: dialect.toCallback(task, state),
      headers: isSigned ? sign(webhookKey, id, Date.now()) : {},
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
