import type { ScriptClock } from './clock.ts'
import type { Random } from './random.ts'
import { toAnswer, toCause, toScenario, type Cause } from './scenario.ts'
import { isSamePicture, isSettled, isWaiting, type ScriptedTask, type Source, type Submit } from './task.ts'

interface TaskTiming {
  readonly completeAfterMs: number
  /** After this time a submit without an answer counts as lost. */
  readonly submitTimeoutMs: number
  readonly pollIntervalMs: number
  readonly deadlineMs: number
}

interface TaskParts {
  readonly clock: ScriptClock
  readonly random: Random
  readonly timing: TaskTiming
  /** Called after each change of a task, also one without a new version. */
  readonly onChange: (task: ScriptedTask) => void
}

/**
 * The outcome of a submit. `task` null: it was refused, and `failedTask` is the stored refusal, if there is
 * one.
 */
export type Submission = { readonly replayed: boolean } & (
  | { readonly task: ScriptedTask; readonly refusal: null }
  | { readonly task: null; readonly refusal: Cause; readonly failedTask: ScriptedTask | null }
)

type Changes = Partial<Omit<ScriptedTask, 'id' | 'history'>>

interface KeyEntry {
  readonly task: ScriptedTask
  readonly until: number
  readonly engine: string | null
}

const KEY_LIFETIME_MS = 24 * 3_600_000
const MIN_QUEUE_DELAY_MS = 1_000
const MAX_QUEUE_DELAY_MS = 300_000

/**
 * The tasks of the scripted gateway, and how they change: the rules of the gateway, with the sandbox as its
 * upstream.
 */
export class ScriptedTasks {
  readonly #parts: TaskParts
  readonly #tasks = new Map<string, ScriptedTask>()
  readonly #keys = new Map<string, KeyEntry>()
  /** How many submits of a source task have been refused in a row. */
  readonly #busy = new Map<string, number>()
  #lastRank = 0

  constructor(parts: TaskParts) {
    this.#parts = parts
  }

  find(id: string): ScriptedTask | undefined {
    return this.#tasks.get(id)
  }

  /** Newest first. */
  list(): ScriptedTask[] {
    return [...this.#tasks.values()].reverse()
  }

  /** The position in the queue: 1 is sent next. */
  toPosition(task: ScriptedTask): number {
    const rank = task.queueRank ?? 0
    return this.list().filter((each) => isWaiting(each) && (each.queueRank ?? 0) <= rank).length
  }

  remove(id: string): void {
    this.#tasks.delete(id)
    for (const [key, { task }] of this.#keys) if (task.id === id) this.#keys.delete(key)
  }

  reset(): void {
    this.#tasks.clear()
    this.#keys.clear()
    this.#busy.clear()
    this.#lastRank = 0
  }

  /** Submits, or returns the existing task of a repeated request. */
  async submit(input: Submit, correlationId: string): Promise<Submission> {
    const key = input.idempotencyKey
    const named = key === null ? undefined : this.#findNamed(key)
    if (named) {
      const isSame = named.engine === input.engine && isSamePicture(named.task, input)
      return isSame
        ? this.#replay(named.task, input)
        : { task: null, refusal: toCause('IDEMPOTENCY_KEY_REUSED'), failedTask: null, replayed: false }
    }
    const existing = input.force ? undefined : this.#findSamePicture(input)
    const task = existing ?? this.#create(input, correlationId)
    if (key !== null) {
      const until = this.#parts.clock.now() + KEY_LIFETIME_MS
      this.#keys.set(key, { task, until, engine: input.engine })
    }
    if (existing) return this.#replay(existing, input)
    task.answered = this.#send(task, input.queue)
    await task.answered
    return toSubmission(task, false)
  }

  /** Withdraws a waiting task. False: it does not wait. */
  cancel(task: ScriptedTask): boolean {
    if (!isWaiting(task)) return false
    this.#fail(task, 'OWNER', toCause('CANCELLED'), { failedBy: 'REFUSAL', note: 'canceled by its owner' })
    return true
  }

  async #replay(task: ScriptedTask, { callBackUrl }: Submit): Promise<Submission> {
    if (callBackUrl !== null) task.callBackUrls.add(callBackUrl)
    await task.answered
    return toSubmission(task, true)
  }

  /** The task that a key names; undefined if the key is free. */
  #findNamed(key: string): KeyEntry | undefined {
    const entry = this.#keys.get(key)
    if (entry === undefined || entry.until <= this.#parts.clock.now()) return undefined
    const { failedBy, failure } = entry.task
    return failedBy === 'REFUSAL' && failure?.nothingCharged ? undefined : entry
  }

  #findSamePicture(input: Submit): ScriptedTask | undefined {
    return this.list().find((task) => task.status !== 'FAILED' && isSamePicture(task, input))
  }

  #create({ taskId, imageIndex, waterMark, engine, callBackUrl }: Submit, correlationId: string) {
    const { clock, random, timing } = this.#parts
    const now = clock.now()
    const task: ScriptedTask = {
      id: random.uuid(),
      correlationId,
      taskId,
      imageIndex,
      waterMark,
      scenario: toScenario(taskId),
      requestedEngine: engine,
      callBackUrls: new Set(callBackUrl === null ? [] : [callBackUrl]),
      createdAt: now,
      version: 1,
      status: 'SUBMITTED',
      failure: null,
      failedBy: null,
      queueRank: null,
      queueRefusal: null,
      queueAttempts: 0,
      updatedAt: now,
      settledAt: null,
      estimatedDoneAt: null,
      deadlineAt: now,
      history: [{ at: now, status: 'SUBMITTED', source: 'SUBMIT', upstreamCode: null, note: 'submitted' }],
      answered: Promise.resolve(),
    }
    this.#tasks.set(task.id, task)
    this.#startDeadline(task, now + timing.deadlineMs)
    this.#parts.onChange(task)
    return task
  }

  /** Resolves when the answer has arrived or is lost. */
  async #send(task: ScriptedTask, queue: boolean): Promise<void> {
    const { clock, timing } = this.#parts
    const { scenario, queueRank } = task
    if (queue) this.#record(task, 'SUBMIT', 'left the queue to be sent', { queueRank: null })
    const answer = this.#takeBusy(task) ? toAnswer(429) : scenario.answer
    if (answer.kind === 'refused') {
      if (queue && answer.cause.isTemporary) this.#defer(task, answer.cause, { note: answer.note, queueRank })
      else this.#fail(task, 'SUBMIT', answer.cause, { failedBy: 'REFUSAL', note: answer.note })
      return
    }
    if (answer.kind === 'lost' && answer.isHanging) await clock.wait(timing.submitTimeoutMs)
    if (answer.kind === 'lost') this.#record(task, 'SUBMIT', `the answer was ${answer.note}`)
    else if (scenario.isEarly) this.#succeed(task, 'CALLBACK', true)
    else this.#advance(task, 'SUBMIT', 'accepted by the upscale service', this.#toAccepted())
    if (answer.kind === 'lost' && !answer.isAccepted) return
    if (!scenario.isEarly) this.#completeLater(task)
  }

  #toAccepted(): Changes {
    const { clock, timing } = this.#parts
    return { status: 'PROCESSING', estimatedDoneAt: clock.now() + timing.completeAfterMs }
  }

  #takeBusy({ taskId, scenario: { busy } }: ScriptedTask): boolean {
    const refused = this.#busy.get(taskId) ?? 0
    const isRefused = refused < busy
    this.#busy.set(taskId, isRefused ? refused + 1 : 0)
    return isRefused
  }

  #completeLater(task: ScriptedTask): void {
    const { clock, timing } = this.#parts
    const { completeAfterMs, callsBack, failure } = task.scenario
    const afterMs = completeAfterMs ?? timing.completeAfterMs
    const source = callsBack ? 'CALLBACK' : 'POLL'
    clock.after(callsBack ? afterMs : Math.max(afterMs, timing.pollIntervalMs), () => {
      if (failure === null) this.#succeed(task, source, false)
      else if (!isSettled(task))
        this.#fail(task, source, failure, { failedBy: 'UPSTREAM', note: 'the upscale failed' })
    })
  }

  /** `isSlow`: the inspection of the result takes a moment. */
  #succeed(task: ScriptedTask, source: Source, isSlow: boolean): void {
    const note = 'the result is ready; its inspection begins'
    if (task.status === 'SUBMITTED') this.#advance(task, source, note, this.#toAccepted())
    else this.#record(task, source, note)
    const done = task.status === 'FAILED' ? 'done after all' : 'done'
    const finish = () =>
      this.#settle(task, 'INSPECTION', `${done}: 1 of 1 pictures inspected`, {
        status: 'SUCCEEDED',
        failure: null,
        failedBy: null,
      })
    if (isSlow) this.#parts.clock.after(0, finish)
    else finish()
  }

  /** `queueRank`: null if it has not waited before. */
  #defer(
    task: ScriptedTask,
    cause: Cause,
    { note, queueRank }: { note: string; queueRank: number | null },
  ): void {
    const queueAttempts = task.queueAttempts + 1
    this.#lastRank += 1
    const changes = { queueRank: queueRank ?? this.#lastRank, queueAttempts, queueRefusal: cause }
    this.#record(task, 'SUBMIT', `${note}; it is sent again later`, changes)
    const onceMs = Math.max(cause.retryAfterMs ?? 0, MIN_QUEUE_DELAY_MS)
    this.#parts.clock.after(Math.min(onceMs * queueAttempts, MAX_QUEUE_DELAY_MS), () => {
      if (isWaiting(task)) void this.#send(task, true)
    })
  }

  #startDeadline(task: ScriptedTask, deadlineAt: number): void {
    const { clock } = this.#parts
    task.deadlineAt = deadlineAt
    const expire = () => {
      if (isSettled(task) || !this.#tasks.has(task.id)) return
      if (isWaiting(task)) {
        const cause = task.queueRefusal ?? toCause('UPSTREAM_RATE_LIMITED')
        const note = 'its turn in the queue did not come by the deadline'
        this.#fail(task, 'DEADLINE', cause, { failedBy: 'REFUSAL', note })
        return
      }
      const code = task.status === 'SUBMITTED' ? 'UPSTREAM_OUTCOME_UNKNOWN' : 'SETTLEMENT_TIMEOUT'
      const note = 'no result came by the deadline'
      this.#fail(task, 'DEADLINE', toCause(code), { failedBy: 'SILENCE', note })
    }
    clock.after(deadlineAt - clock.now(), expire, { isBackground: true })
  }

  #fail(
    task: ScriptedTask,
    source: Source,
    failure: Cause,
    { failedBy, note }: { failedBy: NonNullable<ScriptedTask['failedBy']>; note: string },
  ): void {
    this.#settle(task, source, note, { status: 'FAILED', failure, failedBy })
  }

  #settle(task: ScriptedTask, source: Source, note: string, changes: Changes): void {
    this.#advance(task, source, note, { ...changes, settledAt: this.#parts.clock.now() })
  }

  /** A change that clients see: the version grows. */
  #advance(task: ScriptedTask, source: Source, note: string, changes: Changes): void {
    const updatedAt = this.#parts.clock.now()
    this.#record(task, source, note, { queueRank: null, ...changes, version: task.version + 1, updatedAt })
  }

  #record(task: ScriptedTask, source: Source, note: string, changes: Changes = {}): void {
    Object.assign(task, changes)
    const { status, failure, queueRefusal } = task
    const cause = status === 'FAILED' ? failure : changes.queueRefusal ? queueRefusal : null
    const upstreamCode = cause?.upstreamCode ?? null
    task.history.push({ at: this.#parts.clock.now(), status, source, upstreamCode, note })
    this.#parts.onChange(task)
  }
}

/** A refused task is never shown as a task. */
function toSubmission(task: ScriptedTask, replayed: boolean): Submission {
  return task.failedBy === 'REFUSAL' && task.failure !== null
    ? { task: null, refusal: task.failure, failedTask: task, replayed }
    : { task, refusal: null, replayed }
}
