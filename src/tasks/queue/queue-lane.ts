import type { TaskContext } from '../context.ts'
import { findNextEngines } from '../engines/choice.ts'
import type { SubmitAnswer } from '../engines/engine-ports.ts'
import { sendTask } from '../send.ts'
import type { UpscaleTask } from '../task.ts'
import { createSequence } from '../timing.ts'
import { toTaskAttributes } from '../tracing.ts'
import { createHealth, type Health } from './health.ts'
import { beginSending, CLAIM_LEASE_MS, type Sending } from './begin-sending.ts'
import { readReturnRank } from './return-rank.ts'

/** How many tasks one process sends to an engine at once. */
const MAX_SENDING = 32

/**
 * The part of the queue that waits for one engine. A task leaves it in a commit of its own before it is sent,
 * so a crash never sends it twice: the task then ends like any submit without an answer.
 */
export class QueueLane {
  readonly #context: TaskContext
  readonly #engine: string
  readonly #health: Health
  readonly #rateWait: ReturnType<typeof createRateWait>
  readonly #inSequence = createSequence()
  #sendingCount = 0
  #nextRound: Promise<void> | undefined

  constructor(context: TaskContext, engine: string) {
    this.#context = context
    this.#engine = engine
    this.#health = createHealth(context, engine)
    this.#rateWait = createRateWait(context)
  }

  rateWaitMs(): number | null {
    return this.#rateWait.leftMs()
  }

  /** Calls that wait for a running round share the next one. */
  sendDue(): Promise<void> {
    return (this.#nextRound ??= this.#inSequence(() => {
      this.#nextRound = undefined
      return this.#runRound()
    }))
  }

  async #runRound(): Promise<void> {
    const { engines, queueStore, clock, limits } = this.#context
    if (this.#health.isPaused) await this.#moveWaiting()
    let evenly: boolean | undefined
    while (this.#maySend()) {
      const dueAt = await queueStore.nextQueueDueAt(this.#engine, clock.now())
      if (dueAt === null || dueAt > clock.now()) break
      evenly ??= await this.#hasBacklog()
      const waitMs = await limits.takeAccount(this.#engine, evenly)
      if (waitMs !== null) {
        this.#rateWait.begin(waitMs)
        return
      }
      const now = clock.now()
      const [claimed] = await queueStore.claimQueued(this.#engine, now, now + CLAIM_LEASE_MS, 1)
      if (claimed === undefined) {
        await limits.giveBackAccount(this.#engine)
        break
      }
      const isMoved = !engines.isAvailable(this.#engine) && (await this.#moveToOtherLane(claimed))
      if (isMoved) await limits.giveBackAccount(this.#engine)
      else await this.#send(claimed)
    }
    this.#rateWait.end()
  }

  /**
   * While nothing is sent from this lane, moves waiting tasks to others. Stops at a task that cannot move,
   * until its claim ends.
   */
  async #moveWaiting(): Promise<void> {
    const { queueStore, clock, draining, policy } = this.#context
    while (policy.engineFallback && !draining.aborted) {
      const now = clock.now()
      const [claimed] = await queueStore.claimQueued(this.#engine, now, now + CLAIM_LEASE_MS, 1)
      if (claimed === undefined || !(await this.#moveToOtherLane(claimed))) return
    }
  }

  /**
   * Moves a claimed task to the lane of the next engine, if it may move on. Resolves to whether it has moved.
   */
  async #moveToOtherLane(claimed: UpscaleTask): Promise<boolean> {
    const { report, clock, wakeQueue } = this.#context
    const [next] = findNextEngines(this.#context, claimed)
    if (next === undefined) return false
    const at = clock.now()
    await report(claimed, {
      kind: 'moved',
      at,
      source: 'SUBMIT',
      engine: next.name,
      queueRank: await readReturnRank(this.#context, claimed, next.name, claimed.queueRank ?? 0),
      queueDueAt: at,
      note: `${this.#engine} has failed repeatedly; the task waits for ${next.name} instead`,
    })
    wakeQueue()
    return true
  }

  #maySend(): boolean {
    const { isPaused, isDoubtful } = this.#health
    const isStopping = this.#context.draining.aborted
    return !isStopping && !isPaused && this.#sendingCount < (isDoubtful ? 1 : MAX_SENDING)
  }

  /** Whether more tasks wait than the engine's rate has room for now. */
  async #hasBacklog(): Promise<boolean> {
    const { limits, clock, queueStore } = this.#context
    const rate = await limits.account(this.#engine, clock.now())
    return rate !== null && (await queueStore.hasMoreThan(this.#engine, rate.remaining))
  }

  async #send(claimed: UpscaleTask): Promise<void> {
    const { limits, track, wakeQueue } = this.#context
    const sending = await this.#trace('dequeue', claimed, () => beginSending(this.#context, claimed))
    if (sending === undefined) return limits.giveBackAccount(this.#engine)
    this.#sendingCount += 1
    const sent = this.#trace('send', sending.task, () => this.#finishSending(sending))
    void track(sent).finally(() => {
      this.#sendingCount -= 1
      wakeQueue()
    })
  }

  /**
   * The round may run within the operation that submitted another task: the work belongs to the trace of this
   * task.
   */
  #trace<T>(name: string, task: UpscaleTask, work: () => Promise<T>): Promise<T> {
    const { traceparent } = task
    const start = { name, kind: 'internal', traceparent, attributes: toTaskAttributes(task) } as const
    return this.#context.tracing.run(start, work)
  }

  /** Does not reject. */
  async #finishSending(sending: Sending): Promise<void> {
    const { log } = this.#context
    const onAnswer = (task: UpscaleTask, answer: SubmitAnswer) => {
      if (task.engine === this.#engine) this.#health.note(task, answer)
    }
    try {
      await sendTask(this.#context, sending, onAnswer)
    } catch (error) {
      const { id: taskId, correlationId } = sending.task
      const facts = { err: error, taskId, correlationId }
      log.error(facts, 'the answer to a queued submit is not stored yet')
    }
  }
}

/** The wait of the next task for the engine's rate. Wakes the queue when it ends. */
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
