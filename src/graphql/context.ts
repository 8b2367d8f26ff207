import type { Tasks } from '../tasks/tasks.ts'

/** What every operation works with, on whichever transport it came. */
export interface OperationContext {
  /** The core. In the context, because a TypeGraphQL `subscribe` is no method and knows nothing else. */
  readonly tasks: Tasks
  readonly mode: 'LIVE' | 'SANDBOX'
  /** The subject that tasks belong to. */
  readonly owner: string
  /** Finds everything that this operation caused in the log. */
  readonly correlationId: string
}
