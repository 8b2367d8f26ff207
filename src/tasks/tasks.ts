import { createCreditsReader } from './credits.ts'
import { createDeliverRound } from './deliver.ts'
import type { Delivery } from './delivery.ts'
import type { CallbackNews, RateBudget, RateRefusal, TaskDependencies, TaskListQuery } from './ports.ts'
import { receiveCallback, type Receipt } from './receive.ts'
import { reconcile } from './reconcile.ts'
import { createReporter, type Reporter } from './report.ts'
import { createSharedLookup } from './shared-lookup.ts'
import { submitTask, type Submission, type SubmitInput } from './submit.ts'
import type { UpscaleTask } from './task.ts'
import { watchTask, type Watch, type WatchRequest } from './watch.ts'

/** The core's operations: what GraphQL, the callback handler and the reconciler are allowed to do. */
export interface Tasks {
  /** Submits an upscale, or gives back the one that already stands for the request. */
  submit(input: SubmitInput): Promise<Submission>
  /** Takes in news; the only way a task changes. Rejects with UnknownTaskError. */
  report: Reporter
  /** A task for whoever may see all of them (callback handler, reconciler); undefined when unknown. */
  find(id: string): Promise<UpscaleTask | undefined>
  /** An owner's task; undefined when unknown or someone else's: the two cannot be told apart. */
  get(owner: string, id: string): Promise<UpscaleTask | undefined>
  /** An owner's tasks among these ids, by one question to the store. */
  getMany(owner: string, ids: readonly string[]): Promise<UpscaleTask[]>
  /** What is left of the upstream account's rate; null where there is no limit. */
  rate(): Promise<RateBudget | null>
  /** The account's credits, asked for at most every 30 s; null when the upstream does not say. */
  credits(): Promise<number | null>
  /** An owner's tasks, newest first. */
  list(query: TaskListQuery): Promise<UpscaleTask[]>
  /** Follows a task until it settles, or the watch must end. */
  watch(request: WatchRequest): Watch
  /** Takes in a callback that has proved to belong to this task. */
  receive(task: UpscaleTask, news: CallbackNews, correlationId: string): Promise<Receipt>
  /** Looks after what nobody calls back about: deadlines, polls, retention. Resolves to the polls it started. */
  reconcile(): Promise<Promise<void>[]>
  /** The deliveries of these tasks, whoever they belong to, in the order in which they were added. */
  deliveries(taskIds: readonly string[]): Promise<Delivery[]>
  /**
   * Tells all callback URLs of an owner's task once more how it ended; undefined when unknown or someone else's. A
   * refusal when the owner has sent too many requests.
   */
  redeliver(owner: string, id: string): Promise<UpscaleTask | RateRefusal | undefined>
  /** Tells callers' servers what is due to be told. Resolves to the attempts it started. */
  deliver(): Promise<Promise<void>[]>
  /** Resolves when every submit and callback under way has come to its end; what only waits for others ends now. */
  drained(): Promise<void>
  /** From now on nothing insists: what is cut short gives its lease back, and is left to whoever comes after. */
  cutShort(): void
}

export function createTasks(deps: TaskDependencies): Tasks {
  const report = createReporter(deps)
  const { budget } = deps
  const lookup = createSharedLookup(deps, budget)
  const ending = new AbortController()
  const cut = new AbortController()
  const running = new Set<Promise<unknown>>()
  const track = <T>(work: Promise<T>): Promise<T> => {
    const ended: Promise<unknown> = work.catch(() => undefined).then(() => running.delete(ended))
    running.add(ended)
    return work
  }
  const life = {
    ending: ending.signal,
    cut: cut.signal,
    background: (work: Promise<void>) => void track(work),
  }
  const get = async (owner: string, id: string) => {
    const task = await deps.store.read(id)
    return task?.owner === owner ? task : undefined
  }
  return {
    report,
    submit: (input) => track(submitTask(deps, report, input, life)),
    find: (id) => deps.store.read(id),
    get,
    async getMany(owner, ids) {
      return (await deps.store.readMany(ids)).filter((task) => task.owner === owner)
    },
    rate: () => deps.limits.upstream(deps.clock.now()),
    credits: createCreditsReader(deps),
    list: (query) => deps.store.list(query),
    watch: (request) => watchTask(deps, request),
    receive: (task, news, correlationId) =>
      track(receiveCallback(deps, report, lookup, task, news, correlationId)),
    reconcile: () => reconcile(deps, report, budget, cut.signal),
    deliveries: (taskIds) => deps.outbox.list(taskIds),
    async redeliver(owner, id) {
      const task = await get(owner, id)
      if (task === undefined) return undefined
      const refusal = await deps.limits.takeOwn(owner)
      if (refusal !== null) return refusal
      await deps.outbox.redeliver(id, deps.clock.now())
      deps.deliveryAlarm.ring()
      return task
    },
    deliver: createDeliverRound(deps),
    async drained() {
      ending.abort()
      while (running.size > 0) await Promise.all(running)
    },
    cutShort: () => cut.abort(),
  }
}
