import { awaitAnswer } from './await-answer.ts'
import type { TaskContext } from './context.ts'
import { createTask } from './create-task.ts'
import { chooseEngine } from './engines/choice.ts'
import { toFailure, type Failure } from './failure.ts'
import type { TaskLimit } from './observer.ts'
import { StoreUnavailableError, UnconfirmedError, type InsertOptions } from './store-port.ts'
import type { RateRefusal } from './rates.ts'
import type { TaskQueue } from './queue/queue.ts'
import { sendTask } from './send.ts'
import { settleUnconfirmedInsert } from './submit-storage.ts'
import {
  observeSubmit,
  toSubmission,
  TooManyCallbacksError,
  UnrepeatableError,
  type Submission,
} from './submission.ts'
import type { SubmitInput } from './submit-input.ts'
import type { UpscaleTask } from './task.ts'
import type { createSequences } from './timing.ts'

/** The dependencies of a submit. */
export type SubmitContext = TaskContext & {
  readonly taskQueue: TaskQueue
  /** Runs the inserts of one owner in sequence. */
  readonly inSequence: ReturnType<typeof createSequences>
}

/** The rest of a submit after its insert. */
export type FinishSubmit = () => Promise<Submission>

/**
 * Submits an upscale and pays for it at most once. The row is committed before the upstream is called, so
 * that a crash at any point leaves a task that a callback or the deadline settles. A task whose answer was
 * lost stays SUBMITTED and is never sent again.
 * @throws TooManyCallbacksError
 * @throws UnrepeatableError. After any other StoreUnavailableError a repeated request never pays twice.
 */
export async function submitTask(context: SubmitContext, input: SubmitInput): Promise<Submission> {
  return observeSubmit(
    context,
    beginSubmit(context, input).then((finish) => finish()),
  )
}

/** How long the insert of a queued task waits for earlier inserts of its owner. */
const MAX_INSERT_WAIT_MS = 3_000

/**
 * Inserts the queued tasks of one owner one after another, so that a burst holds one connection of the store.
 * A task that waits for too long, because the store hangs, is not inserted.
 */
function insertInSequence<T>(context: SubmitContext, owner: string, insert: () => Promise<T>): Promise<T> {
  const { clock } = context
  const startedAt = clock.elapsed()
  return context.inSequence(owner, () => {
    if (clock.elapsed() - startedAt < MAX_INSERT_WAIT_MS) return insert()
    throw new StoreUnavailableError('The task is not stored: earlier inserts of its owner take too long')
  })
}

/** Stores the task, or finds the existing one. */
export async function beginSubmit(context: SubmitContext, input: SubmitInput): Promise<FinishSubmit> {
  const { store, clock, secrets } = context
  const { correlationId } = input
  const startedAt = clock.elapsed()
  const token = secrets.newToken()
  const chosen = chooseEngine(context, { ...input, requestedEngine: input.engine })
  if ('kind' in chosen) throw new Error('No engine takes this input: check it by findInputFault first')
  const { name: engine } = chosen
  const task = createTask(context, input, { engine, token, runMs: await context.estimates.runMs(engine) })
  const insert = () => store.insert(task, toInsertOptions(context, input, engine))
  const insertion = await (input.queue ? insertInSequence(context, input.owner, insert) : insert()).catch(
    (error: unknown) => {
      if (!(error instanceof UnconfirmedError)) throw error
      void context.track(settleUnconfirmedInsert(context, task, startedAt))
      // A queued task may be sent before it is settled; any other is not sent.
      throw input.queue ? toRepeatable(error, input) : error
    },
  )
  if ('refusal' in insertion) {
    context.observer?.onRefusal(toLimit(insertion.refusal))
    return () => refuse({ ...insertion.refusal, correlationId })
  }
  if (!insertion.inserted) {
    const { by, existing } = insertion
    const isOtherRequest = by === 'otherEngineKey' || existing.pictureDigest !== task.pictureDigest
    return isOtherRequest
      ? () => refuse({ ...toFailure('IDEMPOTENCY_KEY_REUSED'), correlationId })
      : () => replay(context, existing, input.callBackUrl)
  }
  const { id: taskId, status, sourceTaskId, imageIndex } = task
  context.log.info(
    { taskId, correlationId, sourceTaskId, imageIndex, status, failure: null, note: 'submitted' },
    'a task was submitted',
  )
  const sending = { task, token, startedAt, queued: null }
  const finish = async () =>
    input.queue ? awaitFirstTurn(context, task) : toSubmission(await sendTask(context, sending), false)
  return () =>
    finish().catch((error: unknown) => {
      throw toRepeatable(error, input)
    })
}

/** The error of a submit whose task may have been sent. */
function toRepeatable(error: unknown, { force, idempotencyKey }: SubmitInput): unknown {
  const isFound = !force || idempotencyKey !== null
  if (isFound || !(error instanceof StoreUnavailableError)) return error
  return new UnrepeatableError(error.message, { cause: error })
}

/** Returns the answer if the queue sends the task now; otherwise the waiting task. */
async function awaitFirstTurn(context: SubmitContext, task: UpscaleTask): Promise<Submission> {
  await context.taskQueue.sendDue(task.engine).catch((error: unknown) => {
    context.log.warn(
      { err: error, taskId: task.id, correlationId: task.correlationId },
      'a round of the queue failed; the task waits for the next one',
    )
  })
  const current = (await context.store.read(task.id)) ?? task
  return toSubmission(await awaitAnswer(context, current), false)
}

/** A refusal that is not stored. */
function refuse(failure: Failure): Promise<Submission> {
  return Promise.resolve({ task: null, failure, failedTaskId: null, replayed: false })
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

/** Retry after some tasks of the owner have left the queue. */
const QUEUE_FULL: RateRefusal = { ...toFailure('RATE_LIMITED'), retryAfterMs: 10_000 }

/** The limit that has refused an insert. */
function toLimit(refusal: RateRefusal): TaskLimit {
  if (refusal === QUEUE_FULL) return 'queue'
  return refusal.code === 'RATE_LIMITED' ? 'owner_rate' : 'engine_rate'
}

function toInsertOptions(
  { clock, secrets, policy, limits, taskQueue }: SubmitContext,
  { owner, idempotencyKey, force, callBackUrl, queue }: SubmitInput,
  engine: string,
): InsertOptions<RateRefusal> {
  const options = {
    force,
    callBackUrl,
    queue: queue
      ? { limit: policy.queueLimit, weight: policy.ownerWeights.get(owner) ?? 1, full: QUEUE_FULL }
      : null,
    // The queue takes from the engine's limit when it sends a task. A submit without the queue must not
    // overtake it.
    admit: () => {
      if (queue) return limits.takeForOwner(owner)
      const retryAfterMs = taskQueue.rateWaitMs(engine)
      if (retryAfterMs === null) return limits.take(owner, engine)
      return Promise.resolve({ ...toFailure('UPSTREAM_RATE_LIMITED'), retryAfterMs })
    },
    admitKey: () => limits.takeForOwner(owner),
  }
  if (idempotencyKey === null) return options
  const claim = secrets.digest(JSON.stringify(['key', owner, ...[idempotencyKey].flat()]))
  return { ...options, key: { claim, until: clock.now() + policy.idempotencyKeyLifetimeMs } }
}
