import DataLoader from 'dataloader'
import type { Delivery } from '../tasks/delivery.ts'
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

/** Which callback URLs are taken. */
export interface CallbackPolicy {
  /** Whether what is posted for this owner can be signed. */
  canSign(owner: string): boolean
  /** Hosts that may be named although they are private. */
  readonly allowedHosts: readonly string[]
}

/** What every operation works with, on whichever transport it came. */
export interface OperationContext extends Caller {
  /** The core. In the context, because a TypeGraphQL `subscribe` is no method and knows nothing else. */
  readonly tasks: Tasks
  readonly mode: 'LIVE' | 'SANDBOX'
  readonly callbackPolicy: CallbackPolicy
  /** Finds everything that this operation caused in the log. */
  readonly correlationId: string
  /** A task of the caller's; the references of one operation are read by one question to the store. */
  loadTask(id: string): Promise<UpscaleTask | undefined>
  /** A task's callback deliveries as they stand now; those of many tasks are read by one question. */
  loadDeliveries(taskId: string): Promise<readonly Delivery[]>
}

export type CreateContext = (caller: Caller, correlationId: string) => OperationContext

/** Makes the contexts of a service. */
export function createContextFactory(
  tasks: Tasks,
  mode: 'LIVE' | 'SANDBOX',
  callbackPolicy: CallbackPolicy,
): CreateContext {
  return (caller, correlationId) => {
    let loader: DataLoader<string, UpscaleTask | undefined> | undefined
    let deliveries: DataLoader<string, readonly Delivery[]> | undefined
    return {
      ...caller,
      tasks,
      mode,
      callbackPolicy,
      correlationId,
      loadTask(id) {
        loader ??= new DataLoader(async (ids) => {
          const found = new Map((await tasks.getMany(caller.owner, ids)).map((task) => [task.id, task]))
          return ids.map((each) => found.get(each))
        })
        return loader.load(id)
      },
      loadDeliveries(taskId) {
        deliveries ??= new DataLoader(
          async (ids) => {
            const found = Map.groupBy(await tasks.deliveries(ids), (delivery) => delivery.taskId)
            return ids.map((each) => found.get(each) ?? [])
          },
          // An operation may be a stream: what it shows must not be older than its event.
          { cache: false },
        )
        return deliveries.load(taskId)
      },
    }
  }
}
