import type { TaskContext } from '../context.ts'
import type { UpscaleTask } from '../task.ts'
import { createSequence } from '../timing.ts'
import { createHealth } from './health.ts'
import { beginSending, finishSending } from './send-queued.ts'

/** How long a claim lasts until the task is marked as being sent. */
const CLAIM_LEASE_MS = 10_000
/** How many tasks one process sends at once. */
const MAX_SENDING = 32

/** Sends the tasks of the queue. */
export interface TaskQueue {
  /**
   * Sends the tasks whose turn it is, as many as the account's rate limit allows. Resolves once each is marked as being sent;
   * its answer comes later. Does nothing while the service drains.
   */
  sendDue(): Promise<void>
  /** How long the next task waits for the account's rate, in milliseconds; null: none waits for it. */
  rateWaitMs(): number | null
}

/**
 * The queue of submits that wait for the upstream. A task leaves the queue in a commit of its own before it is sent, so a
 * crash never sends it twice: the task then ends like any submit without an answer.
 */
export function createTaskQueue(context: TaskContext): TaskQueue {
  const { queueStore, clock, limits, draining } = context
  const inSequence = createSequence()
  const health = createHealth(context)
  const rateWait = createRateWait(context)
  let sendingCount = 0
  let nextRound: Promise<void> | undefined

  const send = async (claimed: UpscaleTask) => {
    const sending = await beginSending(context, claimed)
    if (sending === undefined) return limits.giveBackAccount()
    sendingCount += 1
    const answered = finishSending(context, sending, (answer) => health.note(sending.task, answer))
    void context.track(answered).finally(() => {
      sendingCount -= 1
      context.wakeQueue()
    })
  }
  /** Whether more tasks wait than the account's rate has room for now. */
  const hasBacklog = async () => {
    const rate = await limits.upstream(clock.now())
    return rate !== null && (await queueStore.hasMoreThan(rate.remaining))
  }
  const maySend = () =>
    !draining.aborted && !health.isPaused && sendingCount < (health.isDoubtful ? 1 : MAX_SENDING)
  const runRound = async () => {
    let evenly: boolean | undefined
    while (maySend()) {
      const dueAt = await queueStore.nextQueueDueAt(clock.now())
      if (dueAt === null || dueAt > clock.now()) break
      evenly ??= await hasBacklog()
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
    rateWaitMs: rateWait.leftMs,
    // Calls that wait for a running round share the next one.
    sendDue: () =>
      (nextRound ??= inSequence(() => {
        nextRound = undefined
        return runRound()
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
