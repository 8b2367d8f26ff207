import type { DeliveryQueue } from '../tasks/ports.ts'
import type { RateRefusal } from '../tasks/rates.ts'
import { isSettled, type UpscaleTask } from '../tasks/task.ts'
import { DeliveryWorker } from './deliver.ts'
import type { Delivery, DeliveryDependencies } from './outbox.ts'

/** The operations on deliveries to callers' own servers. */
export interface Deliveries extends DeliveryQueue {
  /** The deliveries of these tasks, of any owner, in the order in which they were added. */
  list(taskIds: readonly string[]): Promise<Delivery[]>
  /**
   * Restarts all deliveries of an owner's task. Undefined: the task is unknown, or another owner's. A
   * refusal: the owner has sent too many requests.
   */
  redeliver(owner: string, id: string): Promise<UpscaleTask | RateRefusal | undefined>
  /** Starts due deliveries. Resolves to the running attempts, which never reject. */
  deliverDue(): Promise<Promise<void>[]>
}

export function createDeliveries(deps: DeliveryDependencies): Deliveries {
  const { store, outbox, limits, clock, wake, onRefusal } = deps
  const worker = new DeliveryWorker(deps)
  return {
    async add(task, url) {
      if (!(await outbox.add(task.id, url, clock.now()))) return false
      if (isSettled(task)) wake()
      return true
    },
    wake,
    list: (taskIds) => outbox.list(taskIds),
    async redeliver(owner, id) {
      const task = await store.read(id)
      if (task?.owner !== owner) return undefined
      const refusal = await limits.takeForOwner(owner)
      if (refusal !== null) {
        onRefusal?.('owner_rate')
        return refusal
      }
      await outbox.redeliver(id, clock.now())
      wake()
      return task
    },
    deliverDue: () => worker.deliverDue(),
  }
}
