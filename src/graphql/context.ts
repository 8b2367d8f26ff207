import { randomUUID } from 'node:crypto'
import DataLoader from 'dataloader'
import type { GraphQLError } from 'graphql'
import type { Deliveries } from '../deliveries/deliveries.ts'
import type { Delivery } from '../deliveries/outbox.ts'
import type { Tasks } from '../tasks/tasks.ts'
import type { UpscaleTask } from '../tasks/task.ts'
import type { WatchControl } from '../tasks/watch.ts'
import { requestError } from './errors.ts'

/** Who is calling, as far as operations need to know. */
export interface Caller {
  /** The subject that tasks belong to; null: a guest, who may only follow a task by its watch token. */
  readonly owner: string | null
  /** May see what is the operator's. */
  readonly operator: boolean
  /** What the transport adds to a subscription; absent where none can run. */
  readonly stream?: StreamTransport | undefined
}

/** What a transport sees to while a subscription runs. */
export interface StreamTransport {
  /** When the caller's proof ends, in Unix milliseconds; null: never, or the transport itself ends the stream then. */
  readonly until: number | null
  /** The last version that the client has, as the transport reports it (`Last-Event-ID`); null: not reported. */
  readonly afterVersion: number | null
  /**
   * Called before each stream begins; the result is disposed of when the stream ends. `guestTask`: the task of the watch
   * token; null: the caller is the owner. Throws if too many streams are open.
   */
  onOpen(watch: WatchControl, guestTask: string | null): Disposable
  /** Called with the version of each state before the state is sent. */
  onVersion?(version: number): void
}

/** Makes and reads watch tokens. The holder of one may follow one task until it expires. */
export interface WatchTokens {
  create(taskId: string): Promise<string>
  /**
   * Verifies a token: its task and expiry (Unix milliseconds); undefined if it is refused, also because it is not for
   * `taskId`.
   */
  read(
    token: string,
    taskId?: string,
  ): Promise<{ readonly taskId: string; readonly expiresAt: number } | undefined>
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
  readonly deliveries: Deliveries
  readonly mode: 'LIVE' | 'SANDBOX'
  readonly callbackPolicy: CallbackPolicy
  /** Null: watch tokens are not configured. */
  readonly watchTokens: WatchTokens | null
  /** Finds everything that this operation caused in the log. */
  readonly correlationId: string
  /** A task of the caller's; the references of one operation are read by one question to the store. */
  loadTask(id: string): Promise<UpscaleTask | undefined>
  /** A task's callback deliveries as they stand now; those of many tasks are read by one question. */
  loadDeliveries(taskId: string): Promise<readonly Delivery[]>
}

/** Without an id it makes one when it is asked for. */
export type CreateContext = (caller: Caller, correlationId?: string) => OperationContext

/** Whose tasks an operation is about. Throws UNAUTHENTICATED for a guest. */
export function requireOwner({ owner }: Pick<Caller, 'owner'>): string {
  if (owner === null) throw unauthenticated()
  return owner
}

/** For a guest who asks for more than to follow a task by its watch token. */
export function unauthenticated(message = 'A valid bearer token is required.'): GraphQLError {
  return requestError('UNAUTHENTICATED', message, { http: { status: 401 } })
}

type Shared = Pick<OperationContext, 'tasks' | 'deliveries' | 'mode' | 'callbackPolicy' | 'watchTokens'>

/** Makes the contexts of a service. */
export function createContextFactory(shared: Shared): CreateContext {
  return (caller, correlationId) => new LeanContext(shared, caller, correlationId)
}

/** Small, because every stream keeps one. Nothing in it is `#private`: Apollo Server makes copies. */
class LeanContext implements OperationContext {
  private readonly shared: Shared
  readonly owner: string | null
  readonly operator: boolean
  readonly stream: StreamTransport | undefined
  private id: string | undefined
  private taskLoader: DataLoader<string, UpscaleTask | undefined> | undefined
  private deliveryLoader: DataLoader<string, readonly Delivery[]> | undefined

  constructor(shared: Shared, caller: Caller, id: string | undefined) {
    this.shared = shared
    this.owner = caller.owner
    this.operator = caller.operator
    this.stream = caller.stream
    this.id = id
  }

  get correlationId(): string {
    return (this.id ??= randomUUID())
  }

  get tasks(): Tasks {
    return this.shared.tasks
  }

  get deliveries(): Deliveries {
    return this.shared.deliveries
  }

  get mode(): OperationContext['mode'] {
    return this.shared.mode
  }

  get callbackPolicy(): CallbackPolicy {
    return this.shared.callbackPolicy
  }

  get watchTokens(): WatchTokens | null {
    return this.shared.watchTokens
  }

  loadTask(id: string): Promise<UpscaleTask | undefined> {
    this.taskLoader ??= new DataLoader(async (ids) => {
      const found = await this.tasks.getMany(requireOwner(this), ids)
      const byId = new Map(found.map((task) => [task.id, task]))
      return ids.map((each) => byId.get(each))
    })
    return this.taskLoader.load(id)
  }

  loadDeliveries(taskId: string): Promise<readonly Delivery[]> {
    this.deliveryLoader ??= new DataLoader(
      async (ids) => {
        const found = Map.groupBy(await this.deliveries.list(ids), (delivery) => delivery.taskId)
        return ids.map((each) => found.get(each) ?? [])
      },
      // An operation may be a stream: what it shows must not be older than its event.
      { cache: false },
    )
    return this.deliveryLoader.load(taskId)
  }
}
