import { randomUUID } from 'node:crypto'
import DataLoader from 'dataloader'
import type { GraphQLError, GraphQLResolveInfo, OperationDefinitionNode } from 'graphql'
import type { Deliveries } from '../deliveries/deliveries.ts'
import type { Delivery } from '../deliveries/outbox.ts'
import type { Results } from '../results/results.ts'
import type { Tasks } from '../tasks/tasks.ts'
import type { UpscaleTask } from '../tasks/task.ts'
import type { WatchControl } from '../tasks/watch/watch.ts'
import { requestError } from './errors.ts'

/** The caller of an operation. */
export interface Caller {
  /** The subject that tasks belong to; null: a guest, who may only follow a task by its watch token. */
  readonly owner: string | null
  /** May read data of the operator, such as credits. */
  readonly operator: boolean
  /** How the transport controls a subscription; absent if the transport runs none. */
  readonly stream?: StreamTransport | undefined
}

/** How a transport controls a subscription. */
export interface StreamTransport {
  /**
   * When the caller's token expires, in Unix milliseconds; null: never, or the transport itself ends the
   * stream then.
   */
  readonly until: number | null
  /**
   * The last version that the client has, as the transport reports it (`Last-Event-ID`); null: not reported.
   */
  readonly afterVersion: number | null
  /**
   * Called before each stream begins; the result is disposed of when the stream ends. `guestTask`: the task
   * of the watch token; null: the caller is the owner. Throws if too many streams are open.
   */
  onOpen(watch: WatchControl, guestTask: string | null): Disposable
  /** Called with the version of each state before the state is sent. */
  onVersion?(version: number): void
}

/** What is recorded about an operation. */
export interface OperationRecord {
  /** The trace of the operation (W3C Trace Context); null: none. */
  readonly traceparent: string | null
  /** Notes the operation once it is known, and the name that the request gives it. */
  describe(operation: OperationDefinitionNode, name: string | null | undefined): void
  /** Notes the code of a failure; the first one counts. */
  note(code: string): void
  /** Notes the task that a subscription follows. */
  follow(task: FollowedTask): void
  /** The operation does not end with its request: `endStream` ends it. */
  outliveRequest(): void
  endStream(): Promise<void>
}

/** A task that is followed. */
export interface FollowedTask {
  /** The trace of the task; null: none, or not known yet. */
  traceparent(): string | null
}

/**
 * Issues and verifies watch tokens. A watch token authorizes its holder to follow one task until the token
 * expires.
 */
export interface WatchTokens {
  create(taskId: string): Promise<string>
  /**
   * Verifies a token and returns its task and expiry (Unix milliseconds). Undefined: the token is refused, or
   * is not for `taskId`.
   */
  read(
    token: string,
    taskId?: string,
  ): Promise<{ readonly taskId: string; readonly expiresAt: number } | undefined>
}

/** Which callback URLs are accepted. */
export interface CallbackPolicy {
  /** Whether this owner's deliveries can be signed. */
  canSign(owner: string): boolean
  /** Private hosts that are allowed. */
  readonly allowedHosts: readonly string[]
}

/** The context of an operation, the same on every transport. */
export interface OperationContext extends Caller {
  /** The core. In the context, because a TypeGraphQL `subscribe` is not a method and gets nothing else. */
  readonly tasks: Tasks
  readonly deliveries: Deliveries
  readonly results: Pick<Results, 'links' | 'loadSource' | 'listSources' | 'remove'>
  readonly mode: 'LIVE' | 'SANDBOX'
  readonly callbackPolicy: CallbackPolicy
  /** Null: watch tokens are not configured. */
  readonly watchTokens: WatchTokens | null
  /** The operation's id in the log. */
  readonly correlationId: string
  /** Absent: nothing is recorded. */
  readonly record?: OperationRecord | undefined
  /** Reads a task of the caller. One query reads all references of an operation. */
  loadTask(id: string): Promise<UpscaleTask | undefined>
  /** Reads the current deliveries of a task. One query reads those of many tasks. */
  loadDeliveries(taskId: string): Promise<readonly Delivery[]>
}

/** The argument of the `subscribe` function of a subscription. */
export interface SubscribeData<Args> {
  readonly args: Args
  readonly context: OperationContext
  readonly info: GraphQLResolveInfo
}

/** Without a correlation id, the context generates one on first use. */
export type CreateContext = (
  caller: Caller,
  correlationId?: string,
  record?: OperationRecord,
) => OperationContext

/** Returns the owner. Throws UNAUTHENTICATED for a guest. */
export function requireOwner({ owner }: Pick<Caller, 'owner'>): string {
  if (owner === null) throw unauthenticated()
  return owner
}

/** What connects a task with the operation that submits it. */
export function toTrace({ correlationId, record }: Pick<OperationContext, 'correlationId' | 'record'>) {
  return { correlationId, traceparent: record?.traceparent ?? null }
}

/** The error for a guest's operation that needs a bearer token. */
export function unauthenticated(message = 'A valid bearer token is required.'): GraphQLError {
  return requestError('UNAUTHENTICATED', message, { http: { status: 401 } })
}

type Shared = Pick<
  OperationContext,
  'tasks' | 'deliveries' | 'results' | 'mode' | 'callbackPolicy' | 'watchTokens'
>

/** Returns a function that creates the contexts of a service. */
export function createContextFactory(shared: Shared): CreateContext {
  return (caller, correlationId, record) => new LeanContext(shared, caller, correlationId, record)
}

/** Small, because every stream keeps one. Without `#private` fields, because Apollo Server copies it. */
class LeanContext implements OperationContext {
  private readonly shared: Shared
  readonly owner: string | null
  readonly operator: boolean
  readonly stream: StreamTransport | undefined
  readonly record: OperationRecord | undefined
  private id: string | undefined
  private taskLoader: DataLoader<string, UpscaleTask | undefined> | undefined
  private deliveryLoader: DataLoader<string, readonly Delivery[]> | undefined

  constructor(shared: Shared, caller: Caller, id: string | undefined, record: OperationRecord | undefined) {
    this.shared = shared
    this.owner = caller.owner
    this.operator = caller.operator
    this.stream = caller.stream
    this.id = id
    this.record = record
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

  get results(): OperationContext['results'] {
    return this.shared.results
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
      // No cache: the deliveries in an event of a stream must not be older than the event.
      { cache: false },
    )
    return this.deliveryLoader.load(taskId)
  }
}
