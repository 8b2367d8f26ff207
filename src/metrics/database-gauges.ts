import { Gauge, type Registry } from 'prom-client'
import type { Outbox } from '../deliveries/outbox.ts'
import type { Clock } from '../tasks/ports.ts'
import type { TaskStore } from '../tasks/store-port.ts'
import type { QueueStore } from '../tasks/queue/queue-ports.ts'
import { TASK_STATUSES } from '../tasks/task.ts'
import type { Reading } from './collection.ts'

/** What is read from the database. Each read has a bounded cost, whatever the database holds. */
export interface DatabaseReads {
  readonly store: Pick<TaskStore, 'countByStatus' | 'readOverdue'>
  readonly queueStore: Pick<QueueStore, 'readBacklog'>
  readonly outbox: Pick<Outbox, 'readBacklog'>
}

/** The gauges of what is in the database, for all replicas together. */
export function createDatabaseGauges(
  registry: Registry,
  { store, queueStore, outbox }: DatabaseReads,
  clock: Clock,
): readonly Reading[] {
  const add = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name, help, labelNames, registers: [registry] })
  const now = () => clock.now()
  const tasks = add('upscale_tasks', 'Tasks in the database, by status', ['status'])
  const overdue = add('upscale_polls_overdue', 'Polls and deadlines that are due, and not claimed')
  const overdueAge = add('upscale_poll_overdue_seconds', 'How long the oldest of these polls has been due')
  const queued = add('upscale_queue_tasks', 'Tasks that wait in the queue to be sent')
  const queueAge = add('upscale_queue_oldest_seconds', 'The age of the oldest task in the queue')
  const pending = add('upscale_deliveries_pending', 'Deliveries that are due, or wait for a retry')
  const deliveryAge = add('upscale_delivery_overdue_seconds', 'How long the oldest delivery has been due')
  return [
    {
      metric: 'upscale_tasks',
      clear: () => tasks.reset(),
      async read() {
        const counts = await store.countByStatus()
        for (const status of TASK_STATUSES) tasks.set({ status }, counts[status] ?? 0)
      },
    },
    {
      metric: 'upscale_polls_overdue',
      clear: () => remove(overdue, overdueAge),
      async read() {
        const { count, oldestDueAt } = await store.readOverdue(now())
        overdue.set(count)
        overdueAge.set(toAge(oldestDueAt, now()))
      },
    },
    {
      metric: 'upscale_queue_tasks',
      clear: () => remove(queued, queueAge),
      async read() {
        const { count, oldestCreatedAt } = await queueStore.readBacklog()
        queued.set(count)
        queueAge.set(toAge(oldestCreatedAt, now()))
      },
    },
    {
      metric: 'upscale_deliveries_pending',
      clear: () => remove(pending, deliveryAge),
      async read() {
        const { count, oldestDueAt } = await outbox.readBacklog()
        pending.set(count)
        deliveryAge.set(toAge(oldestDueAt, now()))
      },
    },
  ]
}

/** A gauge without labels that is reset has the value 0. */
function remove(...gauges: readonly Gauge[]): void {
  for (const gauge of gauges) gauge.remove()
}

/** In seconds; 0 for an instant in the future, and if there is none. */
function toAge(at: number | null, now: number): number {
  return at === null ? 0 : Math.max(0, now - at) / 1_000
}
