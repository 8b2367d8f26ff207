import type { TaskContext } from '../context.ts'
import { CATALOGUE, type FailureCause, type UpscaleErrorCode } from '../failure.ts'
import type { SubmitAnswer } from '../ports.ts'
import type { Report } from '../report.ts'
import { sendTask } from '../send.ts'
import { storeAnswer } from '../submit-storage.ts'
import type { UpscaleTask } from '../task.ts'
import { createQueue as createSequence } from '../timing.ts'

/** How long a claim lasts until the task is marked as being sent. */
const CLAIM_LEASE_MS = 10_000
/** How many tasks one process sends at once. */
const MAX_SENDING = 32
/** The shortest and the longest wait after a refusal, whatever its Retry-After. */
const MIN_DELAY_MS = 1_000
const MAX_DELAY_MS = 300_000
/** How long the queue pauses after answers that prove nothing. */
const UNKNOWN_PAUSE_MS = 30_000
/** Refusals that concern all tasks, and prove that nothing was charged: the task is sent again later. */
const TEMPORARY: readonly UpscaleErrorCode[] = [
  'UPSTREAM_RATE_LIMITED',
  'UPSTREAM_MAINTENANCE',
  'UPSTREAM_UNREACHABLE',
]
/**
 * HTTP statuses of these codes that are sent again only by the caller: some proxies answer 503, and Cloudflare 522, after they
 * have forwarded the request.
 */
const DOUBTFUL_STATUSES: readonly (number | null)[] = [503, 522]

/** Sends the tasks of the queue. */
export interface TaskQueue {
  /**
   * Sends the tasks whose turn it is, as many as the account's rate limit allows. Resolves once each is marked as being sent;
   * its answer comes later. Does nothing while the service drains.
   */
  sendDue(): Promise<void>
  /**
   * How long a submit without the queue has to wait, because tasks wait whose turn it is, in milliseconds; null: none waits for
   * the account's rate.
   */
  crowdedMs(): number | null
}

/**
 * The queue of submits that wait for the upstream. A task leaves the queue in a commit of its own before it is sent, so a
 * crash never sends it twice: the task then ends like any submit without an answer.
 */
export function createTaskQueue(context: TaskContext): TaskQueue {
  const { queueStore, clock, limits, draining } = context
  const inSequence = createSequence()
  const health = createHealth(context)
  let sending = 0
  let next: Promise<void> | undefined

  const send = async (claimed: UpscaleTask) => {
    const marked = await markSending(context, claimed)
    if (marked === undefined) return limits.giveBackAccount()
    sending += 1
    const answered = sendMarked(context, marked, (answer) => health.note(marked.task, answer))
    void context.track(answered).finally(() => {
      sending -= 1
      context.wakeQueue()
    })
  }
  const rateWait = createRateWait(context)
  /** Whether more tasks wait than the account's rate has room for now. */
  const isCrowded = async () => {
    const rate = await limits.upstream(clock.now())
    return rate !== null && (await queueStore.hasMoreThan(rate.remaining))
  }
  const sendDue = async () => {
    let evenly: boolean | undefined
    while (!draining.aborted && sending < (health.isDoubtful ? 1 : MAX_SENDING) && !health.isPaused) {
      const dueAt = await queueStore.nextQueueDueAt(clock.now())
      if (dueAt === null || dueAt > clock.now()) break
      evenly ??= await isCrowded()
      const waitMs = await limits.takeAccount(evenly)
      if (waitMs !== null) {
        rateWait.begin(waitMs)
        return
      }
      const now = clock.now()
      const [claimed] = await queueStore.claimQueued(now, now + CLAIM_LEASE_MS, 1)
      if (claimed === undefined) {
        await limits.giveBackAccount()
        break
      }
      await send(claimed)
    }
    rateWait.end()
  }
  return {
    crowdedMs: rateWait.leftMs,
    // Calls that wait for a running round share the next one.
    sendDue: () =>
      (next ??= inSequence(() => {
        next = undefined
        return sendDue()
      })),
  }
}

/** The wait of the next task for the account's rate. Wakes the queue when it may be over. */
function createRateWait({ clock, wakeQueue, draining }: TaskContext) {
  let timer: Disposable | undefined
  let endsAt: number | null = null
  draining.addEventListener('abort', () => timer?.[Symbol.dispose]())
  return {
    begin(ms: number): void {
      timer?.[Symbol.dispose]()
      timer = clock.after(ms, wakeQueue)
      endsAt = clock.elapsed() + ms
    },
    end(): void {
      endsAt = null
    },
    leftMs: () => (endsAt === null ? null : Math.max(1, Math.ceil(endsAt - clock.elapsed()))),
  }
}

interface Marked {
  /** The task after it was marked as being sent. */
  readonly task: UpscaleTask
  /** Its turn and its deadline, if it has to go back. */
  readonly place: { readonly queueRank: number; readonly deadlineAt: number }
  readonly token: string
  readonly startedAt: number
}

/** Takes a claimed task out of the queue. Undefined: it has left the queue in another way. */
async function markSending(context: TaskContext, claimed: UpscaleTask): Promise<Marked | undefined> {
  const { clock, secrets, policy, report, estimates, log } = context
  const { queueRank, deadlineAt: waitsUntil } = claimed
  if (queueRank === null) return undefined
  const place = { queueRank, deadlineAt: waitsUntil }
  const token = secrets.newToken()
  const callbackTokenHash = secrets.digest(token)
  const startedAt = clock.elapsed()
  const runMs = await estimates.runMs()
  const at = clock.now()
  const facts = { at, source: 'SUBMIT', callbackTokenHash } as const
  try {
    const answerBy = at + policy.answerLeaseMs
    const deadlineAt = at + policy.deadlineMs
    const estimatedDoneAt = runMs === null ? null : at + runMs
    const task = await report(claimed, { ...facts, kind: 'sending', answerBy, deadlineAt, estimatedDoneAt })
    return task.callbackTokenHash === callbackTokenHash ? { task, place, token, startedAt } : undefined
  } catch (error) {
    log.warn({ err: error, taskId: claimed.id }, 'failed to take a task out of the queue; nothing was sent')
    // The commit may have happened nevertheless.
    const back = { ...place, queueDueAt: at, failure: null, note: 'not sent' }
    storeAnswer(context, claimed, { ...facts, kind: 'deferred', ...back }, startedAt).catch(() => undefined)
    return undefined
  }
}

/** Sends a marked task and stores the answer. Does not reject. */
async function sendMarked(
  context: TaskContext,
  { task, place, token, startedAt }: Marked,
  onAnswer: (answer: SubmitAnswer) => void,
): Promise<void> {
  const { clock, secrets, log } = context
  const correlationId = secrets.newId()
  const toOtherReport = async (answer: SubmitAnswer): Promise<Report | undefined> => {
    onAnswer(answer)
    if (!isTemporary(answer)) return undefined
    const at = clock.now()
    return {
      kind: 'deferred',
      at,
      source: 'SUBMIT',
      callbackTokenHash: task.callbackTokenHash,
      deadlineAt: place.deadlineAt,
      queueRank: await toReturnRank(context, place.queueRank),
      queueDueAt: at + toDelayMs(answer.failure, task.queueAttempts + 1),
      failure: { ...answer.failure, correlationId },
      note: `${answer.note}; it is sent again later`,
    }
  }
  try {
    await sendTask(context, task, { token, correlationId, startedAt, toOtherReport })
  } catch (error) {
    log.error(
      { err: error, taskId: task.id, correlationId },
      'the answer to a queued submit is not stored yet',
    )
  }
}

/** The task had its turn: once it may be sent again it is not behind the task whose turn it is now. */
async function toReturnRank({ queueStore, clock, log }: TaskContext, rank: number): Promise<number> {
  try {
    return Math.min(rank, (await queueStore.readTurn(clock.now())) ?? rank)
  } catch (error) {
    log.warn({ err: error }, 'failed to read the turn of the queue: a refused task keeps its rank')
    return rank
  }
}

type Refused = Extract<SubmitAnswer, { kind: 'refused' }>

function isTemporary(answer: SubmitAnswer): answer is Refused {
  return isOutage(answer) && !DOUBTFUL_STATUSES.includes(answer.failure.upstreamCode)
}

/** Whether the upstream refuses all tasks at the moment. */
function isOutage(answer: SubmitAnswer): answer is Refused {
  return answer.kind === 'refused' && TEMPORARY.includes(answer.failure.code)
}

/** Grows with each refusal of the task, so that a task that is always refused is tried rarely. */
function toDelayMs({ code, retryAfterMs }: FailureCause, refusals: number): number {
  const once = Math.max(retryAfterMs ?? CATALOGUE[code].retryAfterMs ?? 0, MIN_DELAY_MS)
  return Math.min(once * refusals, MAX_DELAY_MS)
}

/**
 * Whether the upstream takes tasks. After temporary refusals or unknown answers of two tasks in a row the queue pauses, and then
 * sends one task at a time until one has another answer. One task alone cannot stop the others.
 */
function createHealth({ clock, log }: TaskContext) {
  let failedId: string | undefined
  let isDoubtful = false
  let pausedUntil = -Infinity
  return {
    get isDoubtful() {
      return isDoubtful
    },
    get isPaused() {
      return clock.elapsed() < pausedUntil
    },
    note(task: UpscaleTask, answer: SubmitAnswer) {
      const pauseMs = toPauseMs(answer)
      if (pauseMs === null) {
        failedId = undefined
        isDoubtful = false
        return
      }
      if (failedId !== undefined && failedId !== task.id) {
        isDoubtful = true
        pausedUntil = clock.elapsed() + pauseMs
        log.warn({ answer, pauseMs }, 'the upstream takes no tasks: the queue pauses')
      }
      failedId = task.id
    },
  }
}

/** Null: the answer says nothing about other tasks. */
function toPauseMs(answer: SubmitAnswer): number | null {
  if (answer.kind === 'unknown') return UNKNOWN_PAUSE_MS
  return isOutage(answer) ? toDelayMs(answer.failure, 1) : null
}
