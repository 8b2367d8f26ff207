/**
 * Sends a task to its engine, stores the answer, and moves on to the next engine if its engine is
 * unavailable.
 */
import type { TaskContext } from './context.ts'
import { chooseEngine, findCandidates, isReplacement } from './engines/choice.ts'
import type { SubmitAnswer } from './engines/engine-ports.ts'
import { toFailure } from './failure.ts'
import { beginSending, CLAIM_LEASE_MS, type Sending } from './queue/begin-sending.ts'
import { isOutageCode, isTemporary, toDelayMs } from './queue/refusals.ts'
import { readReturnRank } from './queue/return-rank.ts'
import type { Report, ReportOf } from './report.ts'
import { toOutcomeReport } from './result.ts'
import { holdLease, storeAnswer } from './submit-storage.ts'
import { isWaiting, wantsQueue, type UpscaleTask } from './task.ts'

/** The answer for an engine whose circuit is open, if another engine can take the task. */
const NOT_AVAILABLE: SubmitAnswer = {
  kind: 'refused',
  failure: { ...toFailure('UPSTREAM_UNREACHABLE'), nothingCharged: true },
  note: 'it has failed repeatedly; nothing was sent',
  engineUnavailable: true,
}

/**
 * Sends the paid request of a task and stores the answer. The caller has committed before that the task is
 * being sent, so that no crash can send it twice. Between two engines the task waits in the queue: if the
 * process dies, another one continues. `onAnswer` is called with the task that was sent and its answer,
 * unless the answer moves the task on.
 */
export async function sendTask(
  context: TaskContext,
  first: Sending,
  onAnswer?: (task: UpscaleTask, answer: SubmitAnswer) => void,
): Promise<UpscaleTask> {
  let sending = first
  for (;;) {
    const { task } = sending
    // After a refusal, the engine is tried although its circuit is open.
    const isTried = task.queueRefusal !== null || context.engines.isAvailable(task.engine)
    let move = isTried ? undefined : await planMove(context, sending, NOT_AVAILABLE)
    const answer = move
      ? NOT_AVAILABLE
      : replaceRefusal(context, task, await submitToEngine(context, sending))
    move ??= await planMove(context, sending, answer)
    if (move === undefined) {
      onAnswer?.(task, answer)
      return storeFinalAnswer(context, sending, answer)
    }
    const moved = await storeMove(context, sending, move)
    const continues = canContinue(context, moved, move.engine)
    const next = continues ? await beginSending(context, moved) : undefined
    if (next === undefined) {
      if (!wantsQueue(moved)) await context.limits.giveBackAccount(move.engine)
      context.wakeQueue()
      // It may have been canceled since.
      return (await context.store.read(task.id)) ?? moved
    }
    // If this engine defers the task, the task gets back its first rank and deadline.
    sending = { ...next, queued: sending.queued }
  }
}

/** If the store fails, the queue may send the task later, and then takes from the rate limit itself. */
async function storeMove(
  context: TaskContext,
  { task, startedAt }: Sending,
  move: ReportOf<'deferred'>,
): Promise<UpscaleTask> {
  try {
    return await storeAnswer(context, task, move, startedAt)
  } catch (error) {
    if (!wantsQueue(task)) await context.limits.giveBackAccount(move.engine)
    throw error
  }
}

/**
 * A task that wants the queue waits there for its turn. While the service drains, another process continues.
 */
function canContinue({ draining }: TaskContext, task: UpscaleTask, engine: string): boolean {
  return isWaiting(task) && task.engine === engine && !wantsQueue(task) && !draining.aborted
}

async function submitToEngine(context: TaskContext, { task, token }: Sending): Promise<SubmitAnswer> {
  const { engines, log } = context
  const { sourceTaskId, imageIndex, waterMark, traceparent, correlationId } = task
  const callBackUrl = context.callbackUrl(task.id, token)
  const request = { sourceTaskId, imageIndex, waterMark, callBackUrl, traceparent }
  const engine = engines.find(task.engine)
  if (engine === undefined) throw new Error(`ENGINES does not name ${task.engine}`)
  const answer = await holdLease(context, task, () => engine.submit(request, correlationId))
  // If the store fails now, only this line links the payment to the task.
  log.info({ taskId: task.id, engine: engine.name, correlationId, answer }, 'the upstream has answered')
  return answer
}

/**
 * Replaces a replacement engine's refusal by that of the unavailable engine, if the latter was temporary and
 * the task wants the queue, or if the replacement does not know the source task.
 */
function replaceRefusal(context: TaskContext, task: UpscaleTask, answer: SubmitAnswer): SubmitAnswer {
  if (answer.kind !== 'refused' || answer.doubtful || !isReplacement(context, task)) return answer
  const before = task.queueRefusal
  const canWait = wantsQueue(task) && before !== null && isOutageCode(before.code)
  if (!canWait && !answer.sourceUnknown) return answer
  const failure = { ...(before ?? toFailure('UPSTREAM_UNREACHABLE')), nothingCharged: true as const }
  return { ...answer, failure, note: `${task.engine}: ${answer.note}` }
}

/**
 * The report that moves a refused task on to the next engine; undefined: it stays. A task that wants the
 * queue waits for its turn there. Any other is sent at once: this takes from the rate limit of the next
 * engine, and skips an engine whose limit has no room.
 */
async function planMove(
  context: TaskContext,
  sending: Sending,
  answer: SubmitAnswer,
): Promise<ReportOf<'deferred'> | undefined> {
  const { task } = sending
  if (answer.kind !== 'refused') return undefined
  for (const { name } of findCandidates(context, task, answer)) {
    if (!wantsQueue(task) && !(await takeAccount(context, name))) continue
    const delayMs = wantsQueue(task) ? 0 : CLAIM_LEASE_MS
    const note = `${task.engine}: ${answer.note}; it is sent to ${name} instead`
    const failure = { ...answer.failure, correlationId: task.correlationId }
    return planDeferral(context, sending, {
      engine: name,
      delayMs,
      queueAttempts: task.queueAttempts,
      failure,
      note,
    })
  }
  return undefined
}

/**
 * Counts a submit at an engine. False: its rate has no room, or is not known now; the refusal must be stored
 * nevertheless.
 */
async function takeAccount({ limits, log }: TaskContext, engine: string): Promise<boolean> {
  try {
    return (await limits.takeAccount(engine, false)) === null
  } catch (error) {
    log.warn({ err: error, engine }, 'failed to count a submit: the task does not move on to this engine')
    return false
  }
}

async function storeFinalAnswer(
  context: TaskContext,
  sending: Sending,
  answer: SubmitAnswer,
): Promise<UpscaleTask> {
  const { clock, policy } = context
  const { task, startedAt } = sending
  const report =
    isTemporary(answer) && wantsQueue(task)
      ? await planRetry(context, sending, answer)
      : toAnswerReport(task, answer, clock.now(), policy.pollIntervalMs)
  const stored = await storeAnswer(context, task, report, startedAt)
  if (answer.kind !== 'accepted' || answer.outcome === undefined) return stored
  const facts = { at: clock.now(), source: 'SUBMIT', upstreamTaskId: answer.upstreamTaskId } as const
  return storeAnswer(
    context,
    task,
    toOutcomeReport(answer.outcome, facts, task.correlationId, policy),
    startedAt,
  )
}

/**
 * The report that puts a task back into the queue to be sent again. With ENGINE_FALLBACK it begins with the
 * first engine.
 */
function planRetry(
  context: TaskContext,
  sending: Sending,
  { failure, note }: SubmitAnswer & { readonly kind: 'refused' },
): Promise<Report> {
  const { task } = sending
  const chosen = chooseEngine(context, task)
  const queueAttempts = task.queueAttempts + 1
  return planDeferral(context, sending, {
    queueAttempts,
    engine: context.policy.engineFallback && !('kind' in chosen) ? chosen.name : task.engine,
    delayMs: toDelayMs(failure, queueAttempts),
    failure: { ...failure, correlationId: task.correlationId },
    note: `${note}; it is sent again later`,
  })
}

type Deferral = Pick<ReportOf<'deferred'>, 'engine' | 'queueAttempts' | 'failure' | 'note'> & {
  readonly delayMs: number
}

async function planDeferral(
  context: TaskContext,
  { task, queued }: Sending,
  { delayMs, ...rest }: Deferral,
): Promise<ReportOf<'deferred'>> {
  const at = context.clock.now()
  return {
    kind: 'deferred',
    at,
    source: 'SUBMIT',
    callbackTokenHash: task.callbackTokenHash,
    deadlineAt: queued?.deadlineAt ?? task.deadlineAt,
    queueRank: await readReturnRank(context, task, rest.engine, queued?.queueRank ?? 0),
    queueDueAt: at + delayMs,
    ...rest,
  }
}

function toAnswerReport(
  { correlationId }: UpscaleTask,
  answer: SubmitAnswer,
  at: number,
  pollAfterMs: number,
): Report {
  const facts = { at, source: 'SUBMIT' } as const
  switch (answer.kind) {
    case 'accepted':
      return { ...facts, kind: 'accepted', upstreamTaskId: answer.upstreamTaskId, pollAt: at + pollAfterMs }
    case 'refused':
      return { ...facts, kind: 'refused', note: answer.note, failure: { ...answer.failure, correlationId } }
    case 'unknown':
      return { ...facts, kind: 'unanswered', note: answer.note }
    default:
      return answer satisfies never
  }
}
