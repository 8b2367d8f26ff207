import type { Outbox } from '../deliveries/outbox.ts'
import type { TaskStore } from '../tasks/ports.ts'

/** Tasks, and what callers are owed about them, in one database. */
export interface Stores extends AsyncDisposable {
  readonly store: TaskStore
  readonly outbox: Outbox
}
