import type { TaskContext } from '../context.ts'
import { QueueLane } from './queue-lane.ts'

/** Sends the tasks of the queue. */
export interface TaskQueue {
  /**
   * Sends the tasks whose turn it is, as many as the rate limits of the engines allow. Resolves once each is
   * marked as being sent; its answer comes later. `engine`: only those for this engine. Does nothing while
   * the service drains.
   */
  sendDue(engine?: string): Promise<void>
  /** How long the next task for this engine waits for its rate, in milliseconds; null: none waits for it. */
  rateWaitMs(engine: string): number | null
}

/**
 * The queue of submits that wait for their engine. Each engine has a lane of its own, so that none delays the
 * others.
 */
export function createTaskQueue(context: TaskContext): TaskQueue {
  const lanes = new Map(context.engines.all.map(({ name }) => [name, new QueueLane(context, name)]))
  return {
    async sendDue(engine) {
      if (engine !== undefined) return lanes.get(engine)?.sendDue()
      const rounds = await Promise.allSettled([...lanes.values()].map((lane) => lane.sendDue()))
      const failed = rounds.find((round) => round.status === 'rejected')
      if (failed) throw failed.reason
    },
    rateWaitMs: (engine) => lanes.get(engine)?.rateWaitMs() ?? null,
  }
}
