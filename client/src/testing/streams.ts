import type { EventQueue } from './event-queue.ts'
import { Picker, RequestError, toGraphqlError, type GraphqlResult } from './execute.ts'
import type { Field, GraphqlDocument } from './document.ts'
import { badInput, toText } from './inputs.ts'
import { taskNotFound, toShape } from './operations.ts'
import { isSettled, isWaiting, type ScriptedTask, type Status } from './task.ts'
import type { ScriptedTasks } from './tasks.ts'

type Args = Readonly<Record<string, unknown>>

/** Which tasks a subscription follows. */
interface Scope {
  /** Null: all, and the stream does not complete. */
  readonly afterVersions: ReadonlyMap<string, number | null> | null
  readonly status: Status | null
}

export const SUBSCRIPTIONS: Readonly<Record<string, (args: Args) => Scope>> = {
  taskUpdated: ({ id, afterVersion }) => ({
    afterVersions: new Map([[toText(id) ?? '', toVersion(afterVersion)]]),
    status: null,
  }),
  tasksUpdated({ ids, afterVersions }) {
    const all: unknown[] = Array.isArray(ids) ? ids : [ids]
    const versions: unknown[] = Array.isArray(afterVersions) ? afterVersions : all.map(() => null)
    if (all.length < 1 || all.length > 50)
      throw badInput('ids', `ids has ${all.length} entries; 1 to 50 are allowed.`)
    if (versions.length !== all.length)
      throw badInput(
        'afterVersions',
        `afterVersions has ${versions.length} entries; it needs one for each of the ${all.length} ids.`,
      )
    const entries = all.map((id, index) => [toText(id) ?? '', toVersion(versions[index])] as const)
    // The first of equal ids counts.
    return { afterVersions: new Map(entries.reverse()), status: null }
  },
  upscaleTasksChanged: ({ status }) => ({ afterVersions: null, status: toStatus(status) }),
}

function toVersion(value: unknown): number | null {
  return typeof value === 'number' ? value : null
}

function toStatus(value: unknown): Status | null {
  return value === 'SUBMITTED' || value === 'PROCESSING' || value === 'SUCCEEDED' || value === 'FAILED'
    ? value
    : null
}

interface StreamRequest {
  readonly document: GraphqlDocument
  readonly variables: Args
  readonly field: Field
  readonly scope: Scope
  readonly correlationId: string
}

/**
 * A subscription: sends the current states, then each newer one, and completes when all its tasks have
 * settled.
 */
export class TaskStream {
  readonly #tasks: ScriptedTasks
  readonly #events: EventQueue<GraphqlResult>
  readonly #request: StreamRequest
  readonly #selectsQueue: boolean
  /** What was sent last, by id. */
  readonly #sent = new Map<string, string>()
  /** The tasks that have not settled; null: all tasks. */
  readonly #pending: Set<string> | null

  constructor(tasks: ScriptedTasks, events: EventQueue<GraphqlResult>, request: StreamRequest) {
    this.#tasks = tasks
    this.#events = events
    this.#request = request
    const { document, variables, field, scope } = request
    const names = new Picker(document, variables).fields(field).map(({ name }) => name)
    this.#selectsQueue = names.includes('queue') && scope.afterVersions !== null
    this.#pending = scope.afterVersions && new Set(scope.afterVersions.keys())
    for (const [id, version] of scope.afterVersions ?? []) this.#begin(id, version)
  }

  /** Sends the states that have changed; at first, the current ones. */
  refresh(): void {
    const ids = this.#pending ?? this.#tasks.list().map(({ id }) => id)
    for (const id of ids) {
      const task = this.#tasks.find(id)
      if (task) this.#offer(task)
    }
    if (this.#pending?.size === 0) this.#events.end()
  }

  #begin(id: string, version: number | null): void {
    const task = this.#tasks.find(id)
    if (task === undefined) {
      this.#pending?.delete(id)
      const error = toGraphqlError(taskNotFound(id), this.#request.correlationId)
      this.#events.push({ data: { [this.#request.field.key]: null }, errors: [error] })
    } else if (task.version === version && (isSettled(task) || !this.#selectsQueue))
      this.#sent.set(id, this.#toState(task))
  }

  #offer(task: ScriptedTask): void {
    const { status } = this.#request.scope
    const state = this.#toState(task)
    if (isSettled(task)) this.#pending?.delete(task.id)
    if (this.#sent.get(task.id) === state) return
    this.#sent.set(task.id, state)
    if (status === null || task.status === status) this.#send(task)
  }

  /** A state is sent again if this has changed. */
  #toState(task: ScriptedTask): string {
    const place = this.#selectsQueue && isWaiting(task) ? `/${this.#tasks.toPosition(task)}` : ''
    return `${task.version}${place}`
  }

  #send(task: ScriptedTask): void {
    const { document, variables, field, correlationId } = this.#request
    const picker = new Picker(document, variables)
    try {
      const data = { [field.key]: picker.pick(toShape(this.#tasks, task), field, [field.key]) }
      this.#events.push(picker.errors.length > 0 ? { data, errors: picker.errors } : { data })
    } catch (error) {
      // The document is invalid.
      if (!(error instanceof RequestError)) throw error
      this.#events.fail([toGraphqlError(error, correlationId)])
    }
  }
}
