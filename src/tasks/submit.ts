import type { TaskContext } from './context.ts'
import { toFailure, type Failure } from './failure.ts'
import { UnconfirmedError, type InsertOptions, type SubmitAnswer } from './ports.ts'
import type { RateRefusal } from './rates.ts'
import { holdLease, settleUnconfirmedInsert, storeAnswer } from './submit-storage.ts'
import type { Picture, UpscaleTask } from './task.ts'
import { wait } from './timing.ts'
import type { Report } from './transitions.ts'

export interface SubmitInput extends Picture {
  readonly owner: string
  /** Until the key expires, all requests of one owner with this key are one task. */
  readonly idempotencyKey: string | null
  /** The URL for the delivery; null: no delivery. */
  readonly callBackUrl: string | null
  /** Submits, and pays, even if the same picture is already running or done; a known idempotency key still returns its task. */
  readonly force: boolean
  readonly correlationId: string
}

/**
 * The outcome of a submit. If it was refused, `task` is null, `failure` is the reason, and `failedTaskId` is the id of
 * the stored refusal, if there is one.
 */
export type Submission = { readonly replayed: boolean } & (
  | { readonly task: UpscaleTask; readonly failure: null }
  | { readonly task: null; readonly failure: Failure; readonly failedTaskId: string | null }
)

/** Thrown when a replay would exceed the maximum number of callback URLs of a task. */
export class TooManyCallbacksError extends Error {
  override name = 'TooManyCallbacksError'
}

/**
 * Submits an upscale and pays for it at most once. The row is committed before the upstream is called, so that a crash at any
 * point leaves a task that a callback or the deadline settles. A task whose answer was lost stays SUBMITTED and is never sent
 * again.
 * @throws TooManyCallbacksError
 */
export async function submitTask(context: TaskContext, input: SubmitInput): Promise<Submission> {
  const { store, clock, secrets, policy, upscaler, log } = context
  const { correlationId } = input
  const startedAt = clock.elapsed()
  const token = secrets.newToken()
  const task = createTask(context, input, token)
  const insertion = await store.insert(task, toInsertOptions(context, input)).catch((error: unknown) => {
    if (error instanceof UnconfirmedError)
      void context.track(settleUnconfirmedInsert(context, task.id, correlationId, startedAt))
    throw error
  })
  if ('refusal' in insertion) return refuse({ ...insertion.refusal, correlationId })
  if (!insertion.inserted) {
    const { by, existing } = insertion
    return by === 'key' && existing.pictureDigest !== task.pictureDigest
      ? refuse({ ...toFailure('IDEMPOTENCY_KEY_REUSED'), correlationId })
      : replay(context, existing, input.callBackUrl)
  }

  const { sourceTaskId, imageIndex, waterMark } = task
  const request = { sourceTaskId, imageIndex, waterMark, callBackUrl: context.callbackUrl(task.id, token) }
  const answer = await holdLease(context, task.id, () => upscaler.submit(request, correlationId))
  // If the store fails now, only this line links the payment to the task.
  log.info({ taskId: task.id, correlationId, answer }, 'the upstream has answered')
  const report = toReport(answer, clock.now(), policy.pollIntervalMs, correlationId)
  return toSubmission(await storeAnswer(context, task, report, startedAt), false)
}

/** A refusal that is not stored. */
function refuse(failure: Failure): Submission {
  return { task: null, failure, failedTaskId: null, replayed: false }
}

/** Returns the existing task of a repeated request, and adds its callback URL. */
async function replay(
  context: TaskContext,
  existing: UpscaleTask,
  callBackUrl: string | null,
): Promise<Submission> {
  if (callBackUrl !== null && !(await context.deliveries.add(existing, callBackUrl)))
    throw new TooManyCallbacksError('The task has the maximum number of callback URLs')
  return toSubmission(await awaitAnswer(context, existing), true)
}

/** A hint may be lost, and a timer may fire early: a waiting replay re-reads this often, in milliseconds. */
const REREAD_EVERY_MS = 1_000

/**
 * Waits while any process holds the lease on the answer to the task's submit, so that a replay returns the same as the first
 * request, even if both arrive at once. Also ends when the lease lapses (its holder has died), after the longest possible
 * wait, and when the service drains: it then returns the task as it is.
 */
async function awaitAnswer(context: TaskContext, task: UpscaleTask): Promise<UpscaleTask> {
  const { store, hints, clock, policy, draining } = context
  // A limit on the monotonic clock as well: if the wall clock is set back, the lease lapses too late.
  const giveUpAt = clock.elapsed() + policy.submitTimeoutMs + policy.answerLeaseMs
  const toLeaseMs = ({ status, answerBy }: UpscaleTask) =>
    status === 'SUBMITTED' && answerBy !== null && clock.elapsed() < giveUpAt ? answerBy - clock.now() : 0
  if (toLeaseMs(task) <= 0) return task
  let changed = Promise.withResolvers<void>()
  using _listener = await hints.listen(task.id, () => changed.resolve())
  for (;;) {
    const current = await store.read(task.id)
    const leaseMs = current === undefined ? 0 : toLeaseMs(current)
    if (leaseMs <= 0 || draining.aborted) return current ?? task
    await wait(clock, Math.min(REREAD_EVERY_MS, leaseMs), draining, changed.promise)
    changed = Promise.withResolvers()
  }
}

function toReport(answer: SubmitAnswer, at: number, pollAfterMs: number, correlationId: string): Report {
  const facts = { at, source: 'SUBMIT' } as const
  switch (answer.kind) {
    case 'accepted':
      return { ...facts, ...answer, pollAt: at + pollAfterMs }
    case 'refused':
      return { ...facts, ...answer, failure: { ...answer.failure, correlationId } }
    case 'unknown':
      return { ...facts, kind: 'unanswered', note: answer.note }
    default:
      return answer satisfies never
  }
}

function toInsertOptions(
  { clock, secrets, policy, limits }: TaskContext,
  { owner, idempotencyKey, force, callBackUrl }: SubmitInput,
): InsertOptions<RateRefusal> {
  const options = {
    force,
    callBackUrl,
    admit: () => limits.take(owner),
    admitKey: () => limits.takeOwn(owner),
  }
  if (idempotencyKey === null) return options
  const claim = secrets.digest(JSON.stringify(['key', owner, idempotencyKey]))
  return { ...options, key: { claim, until: clock.now() + policy.idempotencyKeyLifetimeMs } }
}

function createTask(
  { clock, secrets, policy }: TaskContext,
  { owner, sourceTaskId, imageIndex, ...input }: SubmitInput,
  callbackToken: string,
): UpscaleTask {
  const now = clock.now()
  const deadlineAt = now + policy.deadlineMs
  const waterMark = input.waterMark === '' ? null : input.waterMark
  return {
    id: secrets.newId(),
    version: 1,
    revision: 1,
    owner,
    status: 'SUBMITTED',
    sourceTaskId,
    imageIndex,
    waterMark,
    images: null,
    sourceImage: null,
    failure: null,
    failedBy: null,
    upstreamTaskId: null,
    callbackTokenHash: secrets.digest(callbackToken),
    // JSON, so that no separator can be forged, and a missing watermark is a value like any other.
    pictureDigest: secrets.digest(JSON.stringify(['picture', owner, sourceTaskId, imageIndex, waterMark])),
    imagesExpireAt: null,
    resultDueAt: null,
    resultAttempts: 0,
    answerBy: now + policy.answerLeaseMs,
    notFoundCount: 0,
    notFoundSince: null,
    createdAt: now,
    updatedAt: now,
    settledAt: null,
    deadlineAt,
    // A task cannot be polled before it is accepted, but its deadline applies.
    dueAt: deadlineAt,
    polls: 0,
    history: [{ at: now, status: 'SUBMITTED', source: 'SUBMIT', upstreamCode: null, note: 'submitted' }],
  }
}

/** A refused task is never shown as a task, whether the submit is the first or a replay. */
function toSubmission(task: UpscaleTask, replayed: boolean): Submission {
  return task.failedBy === 'REFUSAL' && task.failure !== null
    ? { task: null, failure: task.failure, failedTaskId: task.id, replayed }
    : { task, failure: null, replayed }
}
