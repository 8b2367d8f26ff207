import type { FollowError } from '../errors.ts'
import type { AnyTask } from '../follow.ts'
import { createKey, type UpscaleImageInput } from '../submit.ts'
import type { ConnectionState } from '../transport.ts'
import { readSaved, writeSaved, type Saved } from './saved.ts'
import { canceled, cancelUpscale, followUpscale, sendUpscale, type Run, type Socket } from './stream.ts'
import { IDLE, type Upscale, type UpscaleOptions, type UpscaleSnapshot, type UpscaleTask } from './types.ts'

/**
 * Creates a store for one upscale at a time: it submits, follows, and survives reloads and lost connections.
 * It never shows a state that is older than one shown before, and sends nothing once the task has settled. It
 * follows its task while it has subscribers, and completes a submit without them.
 */
export function createUpscale<Task extends AnyTask = UpscaleTask>(
  options: UpscaleOptions<Task>,
): Upscale<Task> {
  return new Store(() => options)
}

interface BrowserEvent {
  readonly type?: string
  /** The page returns from the back/forward cache. */
  readonly persisted?: boolean
}

/** What a browser's window has; absent on a server. */
interface Browser {
  addEventListener(
    type: string,
    listener: (event: BrowserEvent) => void,
    options: { readonly signal: AbortSignal },
  ): void
}

/** The options are read at each use. */
export class Store<Task extends AnyTask> implements Upscale<Task> {
  readonly #readOptions: () => UpscaleOptions<Task>
  readonly #listeners = new Set<() => void>()
  #snapshot: UpscaleSnapshot<Task> = IDLE
  #saved: Saved
  /** Ends the submit or stream that runs. */
  #run: AbortController | undefined
  #submitting: Promise<Task> | undefined

  constructor(readOptions: () => UpscaleOptions<Task>) {
    this.#readOptions = readOptions
    this.#saved = readSaved(readOptions().storage)
  }

  readonly getSnapshot = () => this.#snapshot

  readonly subscribe = (listener: (snapshot: UpscaleSnapshot<Task>) => void) => {
    const call = () => {
      if (this.#listeners.has(call)) listener(this.#snapshot)
    }
    this.#listeners.add(call)
    call()
    // In a microtask: StrictMode mounts, unmounts and mounts in one task.
    queueMicrotask(this.#resume)
    return () => {
      this.#listeners.delete(call)
      // A submit is completed, unless its request has failed: the next `subscribe` sends it again.
      const isSent = this.#submitting && this.#snapshot.connection !== 'waiting'
      if (this.#listeners.size === 0 && !isSent) this.#stop()
    }
  }

  readonly submit = (input: UpscaleImageInput): Promise<Task> => {
    const { input: last, key } = this.#saved
    // A reload, or a second mount, repeats the request.
    const isSame = key && JSON.stringify(last) === JSON.stringify(input)
    return isSame && this.#submitting ? this.#submitting : this.#submit(input, isSame ? { key } : {})
  }

  readonly follow: Upscale<Task>['follow'] = (id, options) => {
    const isSame = id === this.#saved.id
    if (!isSame) this.#stop(IDLE)
    this.#save({ ...(isSame && this.#saved), id, ...options })
    if (this.#snapshot.endedAt === null) this.#set({ problem: null })
    queueMicrotask(this.#resume)
  }

  readonly retry = (): Promise<Task> => {
    const { task, problem, endedAt } = this.#snapshot
    const { id, key, input = toInput(task) } = this.#saved
    if (this.#submitting) return this.#submitting
    // Without anything to retry this fails with TASK_NOT_FOUND.
    if ((id && endedAt === null) || !input) return this.#follow()
    const notBefore = (endedAt ?? 0) + (problem?.retryAfterMs ?? 0)
    return this.#submit({ ...input, idempotencyKey: null }, { key, notBefore })
  }

  readonly cancel = async (): Promise<void> => {
    const { notBefore = 0 } = this.#saved
    if (notBefore > Date.now()) this.#refuse(canceled())
    else await this.#submitting
    if (this.#saved.id) await cancelUpscale(this.#readOptions().client, this.#saved.id)
  }

  readonly dispose = () => {
    this.#listeners.clear()
    this.#stop()
  }

  #save(saved: Saved): void {
    this.#saved = saved
    writeSaved(this.#readOptions().storage, saved)
  }

  /** Listeners are called in a microtask: an error in one ends neither the stream nor the others. */
  #set(patch: Partial<UpscaleSnapshot<Task>>): void {
    const next = { ...this.#snapshot, ...patch }
    const { startedAt, endedAt } = next
    const elapsedMs = startedAt === null ? 0 : (endedAt ?? Date.now()) - startedAt
    this.#snapshot = { ...next, elapsedMs }
    for (const call of this.#listeners) queueMicrotask(call)
  }

  readonly #resume = () => {
    const { input, key, id } = this.#saved
    const { connection, problem, endedAt } = this.#snapshot
    if (connection !== 'idle' || this.#listeners.size === 0 || problem || endedAt !== null) return
    if (key && input) void this.#submit(input, this.#saved)
    else if (id) void this.#follow()
  }

  /** Begins a submit or a stream instead of the one that runs. */
  #begin(patch: Partial<UpscaleSnapshot<Task>>): Run {
    this.#stop()
    const { signal } = (this.#run = new AbortController())
    let aliveAt = Date.now()
    const onConnection = (connection: ConnectionState) => {
      aliveAt = Date.now()
      if (!signal.aborted) this.#set({ connection })
    }
    const tick = setInterval(() => this.#set({}), 1_000)
    signal.addEventListener('abort', () => clearInterval(tick))
    const onBrowserEvent = ({ type, persisted }: BrowserEvent) => {
      if (type === 'offline') onConnection('waiting')
      else if (type === 'online' || persisted || Date.now() - aliveAt > STALE_MS) {
        // Replaces connections that may be dead.
        ;(this.#readOptions().client as Socket).terminate?.()
        if (!this.#submitting) void this.#follow()
      }
    }
    for (const type of ['online', 'offline', 'pageshow', 'visibilitychange'])
      (globalThis as Partial<Browser>).addEventListener?.(type, onBrowserEvent, { signal })
    this.#set({ ...patch, connection: 'connecting' })
    return { signal, onConnection }
  }

  #stop(patch: Partial<UpscaleSnapshot<Task>> = {}): void {
    this.#run?.abort()
    this.#submitting = undefined
    this.#set({ ...patch, connection: 'idle' })
  }

  #submit(
    input: UpscaleImageInput,
    { key = input.idempotencyKey ?? createKey(), startedAt = Date.now(), notBefore = 0 }: Saved,
  ): Promise<Task> {
    const run = this.#begin({ ...IDLE, status: 'SUBMITTING', startedAt })
    this.#save({ input, key, startedAt, notBefore })
    return (this.#submitting = ignoreRejection(this.#send(run, { ...input, idempotencyKey: key }, notBefore)))
  }

  async #send(run: Run, input: UpscaleImageInput, notBefore: number): Promise<Task> {
    const { signal } = run
    try {
      const { task, watchToken } = await sendUpscale(this.#readOptions(), input, notBefore, run)
      if (!signal.aborted) {
        const { id } = task as Task & { readonly id: string }
        this.#stop()
        this.#save({ ...this.#saved, id, watchToken, key: undefined })
        this.#show(task)
        this.#resume()
      }
      return task
    } catch (error) {
      if (!signal.aborted) this.#refuse(error as FollowError)
      throw error
    }
  }

  #refuse(error: FollowError): void {
    const { input, key } = this.#saved
    this.#save({})
    // For `retry`. With the same key the gateway finds a task that it may have stored despite the error.
    this.#saved = { input, key: error.taskId ? undefined : key }
    this.#stop({ problem: error, status: 'FAILED', endedAt: Date.now() })
  }

  /** Follows the task, and resolves with its first state. */
  #follow(): Promise<Task> {
    const run = this.#begin({ problem: null })
    const first = new Promise<Task>((resolve, reject) => {
      const onState = (task: Task) => {
        this.#show(task)
        resolve(task)
      }
      followUpscale(this.#readOptions(), this.#saved, { ...run, onState }).catch((error: unknown) => {
        const problem = error as FollowError
        if (!run.signal.aborted) this.#stop({ problem })
        reject(problem)
      })
    })
    return ignoreRejection(first)
  }

  /** Shows a state unless it is older than one shown before. A router may send older ones. */
  #show(task: Task): void {
    const saved = this.#saved
    const { version, status } = task
    const { problem = null, estimatedDoneAt = null } = task as Partial<UpscaleTask>
    const isSettled = status === 'SUCCEEDED' || status === 'FAILED'
    // As in `followTask`, the first settled state counts: a database may have been restored.
    if (version < (saved.version ?? 0) && (!isSettled || saved.settled)) return
    const { startedAt, endedAt } = toTimes(task, saved.startedAt, Date.now())
    // Stored first: `onSettled` is called once, even if the page is closed now.
    this.#save({ ...saved, version, startedAt, ...(isSettled && { settled: version }) })
    const state = { task, status: status as UpscaleTask['status'], problem, startedAt, estimatedDoneAt }
    if (isSettled) this.#stop({ ...state, endedAt })
    else this.#set(state)
    if (isSettled && saved.settled !== version) queueMicrotask(() => this.#readOptions().onSettled?.(task))
  }
}

/**
 * The gateway sends an event at least every 15 s. Browsers throttle and freeze pages that are hidden for
 * longer.
 */
const STALE_MS = 20_000

/** `problem` reports a rejection: callers need not handle it. */
function ignoreRejection<Value>(promise: Promise<Value>): Promise<Value> {
  promise.catch(() => undefined)
  return promise
}

/** The input of a task that was submitted elsewhere. */
function toInput(task: AnyTask | null): UpscaleImageInput | undefined {
  const { source, imageIndex = 0, waterMark } = (task ?? {}) as Partial<UpscaleTask>
  return source && { taskId: source.id, imageIndex, waterMark }
}

/** When a task began, and ended, by this device's clock, which may differ from the gateway's. */
function toTimes(task: AnyTask, startedAt: number | undefined, now: number) {
  // A date that is null, or was not selected, is parsed as NaN.
  const { createdAt, settledAt } = task as AnyTask & Readonly<Record<'createdAt' | 'settledAt', string>>
  const createdMs = Date.parse(createdAt) || now
  const start = startedAt ?? Math.min(now, createdMs)
  return { startedAt: start, endedAt: start + Date.parse(settledAt) - createdMs || now }
}
