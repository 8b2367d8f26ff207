import type { Failure } from './failure.ts'
import { toFailure } from './failure.ts'
import { awaitAnswer } from './await-answer.ts'
import type { TaskDependencies } from './ports.ts'
import type { Reporter } from './report.ts'
import type { Picture, UpscaleTask } from './task.ts'

export interface SubmitInput extends Picture {
  readonly owner: string
  /** One owner and one key are one task, while the key holds. */
  readonly idempotencyKey: string | null
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

/**
 * Submits an upscale and pays for it at most once. The row is committed before the upstream is called, so
 * that a crash at any point leaves a task that a callback or the deadline can settle; an answer that got
 * lost leaves it SUBMITTED, and it is never sent again.
 */
export async function submitTask(
  deps: TaskDependencies,
  report: Reporter,
  input: SubmitInput,
): Promise<Submission> {
  const token = deps.secrets.newToken()
  const task = toNewTask(deps, input, deps.secrets.digest(token))
  const admit = () => deps.limits.take(task.owner)
  const insertion = await deps.store.insert(task, { force: input.force, admit })
  if ('refusal' in insertion) {
    const failure = { ...insertion.refusal, correlationId: input.correlationId }
    return { task: null, failure, failedTaskId: null, replayed: false }
  }
  if (!insertion.inserted) {
    if (insertion.by === 'key' && !isSamePicture(insertion.existing, task)) {
      const failure = { ...toFailure('IDEMPOTENCY_KEY_REUSED'), correlationId: input.correlationId }
      return { task: null, failure, failedTaskId: null, replayed: false }
    }
    return toSubmission(await awaitAnswer(deps, insertion.existing), true)
  }

  const { sourceTaskId, imageIndex, waterMark } = task
  const callBackUrl = deps.callbackUrl(task.id, token)
  const answer = await deps.upscaler.submit(
    { sourceTaskId, imageIndex, waterMark, callBackUrl },
    input.correlationId,
  )
  const at = deps.clock.now()
  const source = 'SUBMIT'
  switch (answer.kind) {
    case 'accepted': {
      const { upstreamTaskId } = answer
      const pollAt = at + deps.policy.pollIntervalMs
      return toSubmission(
        await report(task.id, { kind: 'accepted', at, source, upstreamTaskId, pollAt }),
        false,
      )
    }
    case 'refused': {
      const failure = { ...answer.failure, correlationId: input.correlationId }
      return toSubmission(await report(task.id, { kind: 'refused', at, source, failure }), false)
    }
    case 'unknown':
      return toSubmission(await report(task.id, { kind: 'unanswered', at, source }), false)
    default:
      return answer satisfies never
  }
}

function toNewTask(
  { clock, secrets, policy }: TaskDependencies,
  input: SubmitInput,
  callbackTokenHash: string,
): UpscaleTask {
  const now = clock.now()
  const { owner, sourceTaskId, imageIndex, idempotencyKey } = input
  const waterMark = input.waterMark === '' ? null : input.waterMark
  // Digests of all parts as JSON: no separator to forge, and a missing watermark is a value like any other.
  const claim = (...parts: unknown[]) => secrets.digest(JSON.stringify(parts))
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
    refused: false,
    upstreamTaskId: null,
    callbackTokenHash,
    keyClaim: idempotencyKey === null ? null : claim('key', owner, idempotencyKey),
    keyClaimUntil: idempotencyKey === null ? null : now + policy.idempotencyKeyLifetimeMs,
    pictureClaim: claim('picture', owner, sourceTaskId, imageIndex, waterMark),
    pictureClaimUntil: null,
    answerBy: now + policy.submitTimeoutMs,
    createdAt: now,
    updatedAt: now,
    settledAt: null,
    deadlineAt: now + policy.deadlineMs,
    dueAt: null,
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
  return task.refused && task.failure !== null
    ? { task: null, failure: task.failure, failedTaskId: task.id, replayed }
    : { task, failure: null, replayed }
}
