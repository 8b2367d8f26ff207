import DataLoader from 'dataloader'
import type { Tasks } from '../tasks/tasks.ts'
import type { UpscaleTask } from '../tasks/task.ts'

/** Who is calling, as far as operations need to know. */
export interface Caller {
  /** The subject that tasks belong to. */
  readonly owner: string
  /** May see what is the operator's. */
  readonly operator: boolean
  /** Where the caller's running subscriptions can be asked to show their state once more. */
  readonly onRepeat?: (repeat: () => void) => Disposable
}

/** What every operation works with, on whichever transport it came. */
export interface OperationContext extends Caller {
  /** The core. In the context, because a TypeGraphQL `subscribe` is no method and knows nothing else. */
  readonly tasks: Tasks
  readonly mode: 'LIVE' | 'SANDBOX'
  /** Finds everything that this operation caused in the log. */
  readonly correlationId: string
  /** A task of the caller's; the references of one operation are read by one question to the store. */
  loadTask(id: string): Promise<UpscaleTask | undefined>
}

export type CreateContext = (caller: Caller, correlationId: string) => OperationContext

/** Makes the contexts of a service. */
export function createContextFactory(tasks: Tasks, mode: 'LIVE' | 'SANDBOX'): CreateContext {
  return (caller, correlationId) => {
    let loader: DataLoader<string, UpscaleTask | undefined> | undefined
    return {
      ...caller,
      tasks,
      mode,
      correlationId,
      loadTask(id) {
        loader ??= new DataLoader(async (ids) => {
          const found = new Map((await tasks.getMany(caller.owner, ids)).map((task) => [task.id, task]))
          return ids.map((each) => found.get(each))
        })
        return loader.load(id)
      },
    }
  }
}
