import { createCallbackReceiver, type CallbackResult } from './callback.ts'
import { createEngineOperations, type EngineOperations } from './engines/engine-operations.ts'
import type { Callback } from './engines/engine-ports.ts'
import { cancelTask } from './queue/cancel.ts'
import type { TaskContext } from './context.ts'
import { createEstimates } from './queue/estimates.ts'
import { pollDue } from './poll.ts'
import type { TaskDependencies } from './ports.ts'
import type { TaskListQuery } from './store-port.ts'
import { QueuePlaces, type QueuePlace } from './queue/queue-places.ts'
import { createTaskQueue } from './queue/queue.ts'
import type { SubmitInput } from './submit-input.ts'
import type { Submission } from './submission.ts'
import { submitTasks } from './submit-many.ts'
import { submitTask, type SubmitContext } from './submit.ts'
import type { UpscaleTask } from './task.ts'
import { createSequences } from './timing.ts'
import type { Report } from './report.ts'
import { createReporter, UnknownTaskError } from './transitions.ts'
import { watchGroup, type GroupRequest, type GroupWatch } from './watch/watch-group.ts'
import { watchOwner, type OwnerRequest, type OwnerWatch } from './watch/watch-owner.ts'
import { watchTask, type Watch, type WatchRequest } from './watch/watch.ts'

/**
 * The operations of the core: the only way for GraphQL, the callback handler and the poll worker to use
 * tasks.
 */
export interface Tasks extends EngineOperations {
  /** Submits an upscale, or returns the existing task of the request. */
  submit(input: SubmitInput): Promise<Submission>
  /** Submits several upscales in this order, each whether the others fail or not. Does not reject. */
  submitAll(inputs: readonly SubmitInput[]): Promise<PromiseSettledResult<Submission>[]>
  /**
   * Takes an owner's task out of the queue: it fails with CANCELLED, and nothing is charged. Resolves to the
   * task, which is unchanged if it has been sent or has settled; undefined: the owner has no such task.
   */
  cancel(owner: string, id: string): Promise<UpscaleTask | undefined>
  /** The place of a task in the queue; null: it does not wait. */
  findPlace(task: Pick<UpscaleTask, 'id' | 'engine'>): Promise<QueuePlace | null>
  /** Any owner's task, for the callback handler; undefined when unknown. */
  find(id: string): Promise<UpscaleTask | undefined>
  /** An owner's tasks among these ids, by one query. Omits unknown ids and tasks of other owners. */
  getMany(owner: string, ids: readonly string[]): Promise<UpscaleTask[]>
  /** An owner's tasks, newest first. */
  list(query: TaskListQuery): Promise<UpscaleTask[]>
  /** Follows a task until it settles, or the watch must end. */
  watch(request: WatchRequest): Watch
  /** Follows several tasks of an owner in one stream, until all have settled, or the watch must end. */
  watchGroup(request: GroupRequest): GroupWatch
  /** Follows all tasks of an owner, until the watch must end. */
  watchOwner(request: OwnerRequest): OwnerWatch
  /**
   * Processes a callback that arrived at this task's secret URL. Resolves once the new state is committed.
   */
  receive(task: UpscaleTask, callback: Callback): Promise<CallbackResult>
  /**
   * Reports what an attempt to inspect and copy the images has found. Resolves to the task after the change;
   * undefined: the task does not exist any more.
   */
  inspected(task: string | UpscaleTask, inspection: Inspection): Promise<UpscaleTask | undefined>
  /**
   * Deletes an owner's task with its keys and deliveries. Undefined: the owner has no such task. False: it
   * has not settled.
   */
  remove(owner: string, id: string): Promise<boolean | undefined>
  /** One round of retention, deadlines and polls. Resolves to the polls it started. */
  pollDue(): Promise<Promise<void>[]>
  /** One round of the queue: sends the tasks whose turn it is. `drain` waits for their answers. */
  sendQueued(): Promise<[]>
  /** Ends the waits of replays. Resolves when all running submits and callbacks have finished. */
  drain(): Promise<void>
  /** Aborts retries and polls; they release their leases to other replicas. */
  abort(): void
}

/** What an attempt to inspect and copy the images of a task has found. */
export type Inspection = Pick<Extract<Report, { kind: 'inspected' }>, 'images' | 'retryAt' | 'note'>

export function createTasks(deps: TaskDependencies): Tasks {
  const { store, clock } = deps
  const draining = new AbortController()
  const aborting = new AbortController()
  const running = new Set<Promise<unknown>>()
  const context: TaskContext = {
    ...deps,
    report: createReporter(deps),
    estimates: createEstimates(deps),
    draining: draining.signal,
    aborting: aborting.signal,
    track(work) {
      const ended: Promise<unknown> = work.catch(() => undefined).then(() => running.delete(ended))
      running.add(ended)
      return work
    },
  }
  const receive = createCallbackReceiver(context)
  const taskQueue = createTaskQueue(context)
  const places = new QueuePlaces(context)
  const submitContext: SubmitContext = { ...context, taskQueue, inSequence: createSequences() }
  const watchDeps = { ...deps, places }
  return {
    ...createEngineOperations(context),
    submit: (input) => context.track(submitTask(submitContext, input)),
    submitAll: (inputs) => context.track(submitTasks(submitContext, inputs)),
    cancel: (...args) => context.track(cancelTask(context, ...args)),
    findPlace: (task) => places.find(task),
    find: (id) => store.read(id),
    getMany: async (owner, ids) => (await store.readMany(ids)).filter((task) => task.owner === owner),
    list: (query) => store.list(query),
    watch: (request) => watchTask(watchDeps, request),
    watchGroup: (request) => watchGroup(watchDeps, request),
    watchOwner: (request) => watchOwner(watchDeps, request),
    receive: (...args) => context.track(receive(...args)),
    inspected: (task, inspection) =>
      context
        .report(task, { kind: 'inspected', at: clock.now(), source: 'INSPECTION', ...inspection })
        .catch((error: unknown) => {
          if (error instanceof UnknownTaskError) return undefined
          throw error
        }),
    async remove(owner, id) {
      const correlationId = (await store.read(id))?.correlationId
      const removed = await store.remove(owner, id)
      if (removed) context.log.info({ taskId: id, correlationId, owner }, 'a task was deleted by its owner')
      return removed
    },
    pollDue: () => pollDue(context),
    sendQueued: () => context.track(taskQueue.sendDue()).then(() => []),
    async drain() {
      draining.abort()
      while (running.size > 0) await Promise.all(running)
    },
    abort: () => aborting.abort(),
  }
}
