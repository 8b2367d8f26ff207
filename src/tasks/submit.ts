import type { Report } from './transitions.ts'
import { awaitAnswer } from './await-answer.ts'
import { toFailure, type Failure } from './failure.ts'
import { UnconfirmedError, type IdempotencyKey, type SubmitAnswer, type TaskDependencies } from './ports.ts'
import type { Reporter } from './report.ts'
import { holdAnswer, persist, undoInsert, type SubmitLife } from './submit-retry.ts'
import { type Picture, type UpscaleTask } from './task.ts'

export interface SubmitInput extends Picture {
  readonly owner: string
  /** One owner and one key are one task, while the key holds. */
  readonly idempotencyKey: string | null
  /** Where the caller wants to be told how the task ends; null: nowhere. */
  readonly callBackUrl: string | null
  /** Pay again although the same picture is already running or done. */
  readonly force: boolean
  readonly correlationId: string
}

/**
 * What a submit came to. `task` null: it was refused, and `failure` says why; `failedTaskId` names the
 * record kept of it, where there is one.
 */
export type Submission = { readonly replayed: boolean } & (
  | { readonly task: UpscaleTask; readonly failure: null }
  | { readonly task: null; readonly failure: Failure; readonly failedTaskId: string | null }
)

/** Thrown when a replay names one callback URL more than a task may have. */
export class TooManyCallbacksError extends Error {
  override name = 'TooManyCallbacksError'
}

/**
 * Submits an upscale and pays for it at most once. The row is committed before the upstream is called, so
 * that a crash at any point leaves a task that a callback or the deadline settles; a task whose answer got
 * lost stays SUBMITTED and is never sent again.
 * @throws TooManyCallbacksError
 */
export async function submitTask(
  deps: TaskDependencies,
  report: Reporter,
  input: SubmitInput,
  life: SubmitLife,
): Promise<Submission> {
  const { correlationId, force, callBackUrl } = input
  const token = deps.secrets.newToken()
  const task = toNewTask(deps, input, deps.secrets.digest(token))
  const admit = () => deps.limits.take(task.owner)
  const admitKey = () => deps.limits.takeOwn(task.owner)
  const key = toKey(deps, input)
  const run = { ...life, startedAt: deps.clock.elapsed() }
  const options = { force, key, callBackUrl, admit, admitKey }
  const insertion = await deps.store.insert(task, options).catch((error: unknown) => {
    if (error instanceof UnconfirmedError)
      life.background(undoInsert(deps, report, task.id, correlationId, run))
    throw error
  })
  if ('refusal' in insertion) {
    const failure = { ...insertion.refusal, correlationId }
    return { task: null, failure, failedTaskId: null, replayed: false }
  }
  if (!insertion.inserted) {
    if (insertion.by === 'key' && !isSamePicture(insertion.existing, task)) {
      const failure = { ...toFailure('IDEMPOTENCY_KEY_REUSED'), correlationId }
      return { task: null, failure, failedTaskId: null, replayed: false }
    }
    if (callBackUrl !== null && !(await deps.deliveries.add(insertion.existing, callBackUrl)))
      throw new TooManyCallbacksError('The task has the maximum number of callback URLs')
    return toSubmission(await awaitAnswer(deps, insertion.existing, life.ending), true)
  }

  const { sourceTaskId, imageIndex, waterMark } = task
  const request = { sourceTaskId, imageIndex, waterMark, callBackUrl: deps.callbackUrl(task.id, token) }
  const answer = await holdAnswer(deps, task.id, () => deps.upscaler.submit(request, correlationId))
  // If the store fails now, only this line links the payment to the task.
  deps.log.info({ taskId: task.id, correlationId, answer }, 'the upstream has answered')
  return toSubmission(await persist(deps, report, task, toReport(deps, answer, correlationId), run), false)
}

function toReport({ clock, policy }: TaskDependencies, answer: SubmitAnswer, correlationId: string): Report {
  const at = clock.now()
  const source = 'SUBMIT'
  switch (answer.kind) {
    case 'accepted': {
      const { upstreamTaskId } = answer
      return { kind: 'accepted', at, source, upstreamTaskId, pollAt: at + policy.pollIntervalMs }
    }
    case 'refused':
      return { kind: 'refused', at, source, failure: { ...answer.failure, correlationId }, note: answer.note }
    case 'unknown':
      return { kind: 'unanswered', at, source, note: answer.note }
    default:
      return answer satisfies never
  }
}

// Digests of all parts as JSON: no separator to forge, and a missing watermark is a value like any other.
function toDigest({ secrets }: TaskDependencies, ...parts: unknown[]): string {
  return secrets.digest(JSON.stringify(parts))
}

function toKey(deps: TaskDependencies, { owner, idempotencyKey }: SubmitInput): IdempotencyKey | null {
  if (idempotencyKey === null) return null
  const until = deps.clock.now() + deps.policy.idempotencyKeyLifetimeMs
  return { claim: toDigest(deps, 'key', owner, idempotencyKey), until }
}

function toNewTask(deps: TaskDependencies, input: SubmitInput, callbackTokenHash: string): UpscaleTask {
  const { clock, secrets, policy } = deps
  const now = clock.now()
  const deadlineAt = now + policy.deadlineMs
  const { owner, sourceTaskId, imageIndex } = input
  const waterMark = input.waterMark === '' ? null : input.waterMark
  return {
    id: secrets.newId(),
    version: 1,
    owner,
    status: 'SUBMITTED',
    sourceTaskId,
    imageIndex,
    waterMark,
    images: null,
    failure: null,
    failedBy: null,
    upstreamTaskId: null,
    callbackTokenHash,
    pictureDigest: toDigest(deps, 'picture', owner, sourceTaskId, imageIndex, waterMark),
    imagesExpireAt: null,
    answerBy: now + policy.answerLeaseMs,
    absences: 0,
    absentSince: null,
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

function isSamePicture(one: Picture, other: Picture): boolean {
  return (
    one.sourceTaskId === other.sourceTaskId &&
    one.imageIndex === other.imageIndex &&
    one.waterMark === other.waterMark
  )
}

/** Shows what the first answer showed: a task that was refused is never shown as a task. */
function toSubmission(task: UpscaleTask, replayed: boolean): Submission {
  return task.failedBy === 'REFUSAL' && task.failure !== null
    ? { task: null, failure: task.failure, failedTaskId: task.id, replayed }
    : { task, failure: null, replayed }
}
