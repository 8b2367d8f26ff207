import { createCreditsReader } from './credits.ts'
import type { CallbackNews, RateBudget, TaskDependencies, TaskListQuery } from './ports.ts'
import { createPollBudget } from './poll-budget.ts'
import { receiveCallback, type Receipt } from './receive.ts'
import { reconcile } from './reconcile.ts'
import { createReporter, type Reporter } from './report.ts'
import { submitTask, type Submission, type SubmitInput } from './submit.ts'
import type { UpscaleTask } from './task.ts'
import { watchTask, type WatchRequest } from './watch.ts'

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
  /** Follows a task until it settles. */
  watch(request: WatchRequest): AsyncIterableIterator<UpscaleTask | null>
  /** Takes in a callback that has proved to belong to this task. */
  receive(task: UpscaleTask, news: CallbackNews, correlationId: string): Promise<Receipt>
  /** Looks after what nobody calls back about: deadlines, polls, retention. Resolves to the polls it started. */
  reconcile(): Promise<Promise<void>[]>
  /** Resolves when every submit and callback under way has come to its end. */
  drained(): Promise<void>
}

export function createTasks(deps: TaskDependencies): Tasks {
  const report = createReporter(deps)
  const budget = createPollBudget(deps.clock, deps.policy.pollsPerSecond)
  const running = new Set<Promise<unknown>>()
  const track = <T>(work: Promise<T>): Promise<T> => {
    const ended: Promise<unknown> = work.catch(() => undefined).then(() => running.delete(ended))
    running.add(ended)
    return work
  }
  return {
    report,
    submit: (input) => track(submitTask(deps, report, input)),
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
      track(receiveCallback(deps, report, budget, task, news, correlationId)),
    reconcile: () => reconcile(deps, report, budget),
    async drained() {
      while (running.size > 0) await Promise.all(running)
    },
  }
}
