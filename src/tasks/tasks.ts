import { createCreditsReader } from './credits.ts'
import type { CallbackNews, RateBudget, TaskDependencies, TaskListQuery } from './ports.ts'
import { receiveCallback, type Receipt } from './callback.ts'
import { reconcile } from './poll.ts'
import { createReporter } from './report.ts'
import { createSharedLookup } from './shared-lookup.ts'
import { submitTask, type Submission, type SubmitInput } from './submit.ts'
import type { UpscaleTask } from './task.ts'
import { watchTask, type Watch, type WatchRequest } from './watch.ts'

/** The core's operations: what GraphQL, the callback handler and the reconciler are allowed to do. */
export interface Tasks {
  /** Submits an upscale, or returns the existing task of the request. */
  submit(input: SubmitInput): Promise<Submission>
  /** Any owner's task, for the callback handler and the reconciler; undefined when unknown. */
  find(id: string): Promise<UpscaleTask | undefined>
  /** An owner's task; undefined when unknown or another owner's: callers cannot distinguish the two. */
  get(owner: string, id: string): Promise<UpscaleTask | undefined>
  /** An owner's tasks among these ids, by one query. */
  getMany(owner: string, ids: readonly string[]): Promise<UpscaleTask[]>
  /** The upstream account's rate limit; null: no limit. */
  rate(): Promise<RateBudget | null>
  /** The account's credits, requested at most every 30 s; null when the upstream does not send them. */
  credits(): Promise<number | null>
  /** An owner's tasks, newest first. */
  list(query: TaskListQuery): Promise<UpscaleTask[]>
  /** Follows a task until it settles, or the watch must end. */
  watch(request: WatchRequest): Watch
  /** Processes a callback that arrived at this task's secret URL. */
  receive(task: UpscaleTask, news: CallbackNews, correlationId: string): Promise<Receipt>
  /** One round of deadlines, polls and retention. Resolves to the polls it started. */
  reconcile(): Promise<Promise<void>[]>
  /** Resolves when all running submits and callbacks have finished; replays stop waiting at once. */
  drained(): Promise<void>
  /** Aborts retries and polls; they release their leases to other replicas. */
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
  return {
    submit: (input) => track(submitTask(deps, report, input, life)),
    find: (id) => deps.store.read(id),
    async get(owner, id) {
      const task = await deps.store.read(id)
      return task?.owner === owner ? task : undefined
    },
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
    async drained() {
      ending.abort()
      while (running.size > 0) await Promise.all(running)
    },
    cutShort: () => cut.abort(),
  }
}
