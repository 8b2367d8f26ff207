import { FollowError, toTransportError } from './errors.ts'
import type { AnyTask } from './follow.ts'
import type { UpscaleImageInput } from './submit.ts'
import { readSaved, writeSaved, toInput, toTimes, type Pending, type Saved } from './upscale-saved.ts'
import { followUpscale, readFirst, type Socket } from './upscale-stream.ts'
import { cancelUpscale, isUnanswered, sendUpscale, waitUntil } from './upscale-submit.ts'
import {
  IDLE,
  type Upscale,
  type UpscaleOptions,
  type UpscaleSnapshot,
  type UpscaleTask,
} from './upscale-types.ts'
import { listenForWake } from './upscale-wake.ts'

/**
 * Creates a store for one upscale at a time: it submits, follows, and survives reloads and lost connections. It never shows a state
 * that is older than one shown before, and sends nothing once the task has settled. It has no side effects before its first
 * call. A store that never had a subscriber follows its task, too.
 */
export function createUpscale<Task extends AnyTask = UpscaleTask>(
  options: UpscaleOptions<Task>,
): Upscale<Task> {
  return new Store(options)
}

class Store<Task extends AnyTask> implements Upscale<Task> {
  readonly #options: UpscaleOptions<Task>
  readonly #listeners = new Set<() => void>()
  readonly #disposed = new AbortController()
  #snapshot: UpscaleSnapshot<Task> = IDLE
  #saved: Saved = {}
  #isLoaded = false
  #subscribers = 0
  #isPaused = false
  #problemAt = 0
  #submitting: Promise<Task> | undefined
  /** While `retry` waits before it sends: withdraws it. */
  #held: AbortController | undefined
  #stream: AbortController | undefined
  #unlisten: (() => void) | undefined

  constructor(options: UpscaleOptions<Task>) {
    this.#options = options
  }

  readonly getSnapshot = () => this.#snapshot

  readonly subscribe = (listener: (snapshot: UpscaleSnapshot<Task>) => void) => {
    const call = () => listener(this.#snapshot)
    this.#listeners.add(call)
    this.#subscribers += 1
    this.#isPaused = false
    this.#resumeSoon()
    call()
    return () => {
      if (!this.#listeners.delete(call)) return
      this.#subscribers -= 1
      this.#isPaused = this.#subscribers === 0
      if (this.#isPaused && this.#stream) this.#stop()
    }
  }

  readonly submit = (input: UpscaleImageInput): Promise<Task> => {
    this.#load()
    const saved = this.#saved
    // A reload, or a second mount, repeats the request.
    const isSame = saved.key !== undefined && JSON.stringify(saved.input) === JSON.stringify(input)
    if (isSame && this.#submitting) return this.#submitting
    const key = input.idempotencyKey ?? (isSame ? saved.key : undefined) ?? createKey()
    return this.#submit({ input, key, startedAt: Date.now() })
  }

  readonly follow = (
    id: string,
    { watchToken }: { readonly watchToken?: string | null | undefined } = {},
  ) => {
    this.#load()
    const { endedAt, problem } = this.#snapshot
    if (id !== this.#saved.id) {
      this.#stop()
      this.#submitting = undefined
      this.#save({ id, watchToken })
      this.#set(IDLE)
    } else {
      if (watchToken != null) this.#save({ ...this.#saved, watchToken })
      if (problem && endedAt === null) this.#set({ problem: null })
    }
    this.#resumeSoon()
  }

  readonly retry = (): Promise<Task> => {
    this.#load()
    const { task, status, problem, endedAt } = this.#snapshot
    if (this.#submitting) return this.#submitting
    if (this.#saved.id !== undefined && endedAt === null) {
      this.follow(this.#saved.id)
      return readFirst(this.#listeners, this.getSnapshot)
    }
    const input = this.#saved.input ?? toInput(task)
    if (!input)
      return Promise.reject(new FollowError('BAD_USER_INPUT', 'Nothing to retry: call submit first.'))
    // A repeated success is paid only if the pictures of the first one have expired.
    const again = status === 'SUCCEEDED' ? { ...input, force: false } : input
    const key = this.#saved.key ?? createKey()
    const pending = { input: { ...again, idempotencyKey: undefined }, key, startedAt: Date.now() }
    return this.#submit(pending, this.#problemAt + (problem?.retryAfterMs ?? 0))
  }

  readonly cancel = async (): Promise<void> => {
    if (this.#held) {
      this.#held.abort()
      return
    }
    await this.#submitting
    const { id } = this.#saved
    if (id === undefined) return
    await cancelUpscale(this.#options.client, id, this.#disposed.signal)
  }

  readonly dispose = () => {
    this.#disposed.abort()
    this.#held?.abort()
    this.#stop()
    this.#listeners.clear()
  }

  /** Reads the storage. Not in the constructor: React may create a store and drop it, and servers have no storage. */
  #load(): void {
    if (this.#isLoaded) return
    this.#isLoaded = true
    this.#saved = readSaved(this.#options.storage)
    const { startedAt = null, status } = this.#saved
    if (status === 'SUBMITTED' || status === 'PROCESSING') this.#set({ status, startedAt })
  }

  #save(saved: Saved): void {
    this.#saved = saved
    writeSaved(this.#options.storage, saved)
  }

  #set(patch: Partial<UpscaleSnapshot<Task>>): void {
    const next = { ...this.#snapshot, ...patch }
    const keys = Object.keys(patch) as (keyof typeof patch)[]
    if (keys.every((key) => next[key] === this.#snapshot[key])) return
    if (patch.problem) this.#problemAt = Date.now()
    this.#snapshot = next
    if (next.connection !== 'idle') this.#unlisten ??= listenForWake(this.#wake, this.#markOffline)
    else if (this.#unlisten) {
      this.#unlisten()
      this.#unlisten = undefined
    }
    for (const listener of [...this.#listeners]) listener()
  }

  /** In a microtask: StrictMode mounts, unmounts and mounts in one task. */
  #resumeSoon(): void {
    queueMicrotask(() => this.#resume())
  }

  #resume(): void {
    this.#load()
    const isBusy = this.#stream !== undefined || this.#submitting !== undefined
    const { problem, endedAt } = this.#snapshot
    if (isBusy || this.#isPaused || this.#disposed.signal.aborted || problem || endedAt !== null) return
    const { id, input, key } = this.#saved
    if (input && key !== undefined) void this.#submit({ ...this.#saved, input, key })
    else if (id !== undefined) void this.#follow(id)
  }

  #stop(): void {
    this.#stream?.abort()
    this.#stream = undefined
    this.#set({ connection: 'idle' })
  }

  readonly #markOffline = () => this.#set({ connection: 'waiting' })

  /** Replaces connections that may be dead. */
  readonly #wake = () => {
    ;(this.#options.client as Socket).terminate?.()
    if (!this.#stream) return
    this.#stream.abort()
    this.#stream = undefined
    this.#resume()
  }

  #submit(pending: Pending, notBefore = 0): Promise<Task> {
    this.#stop()
    this.#save(pending)
    const { startedAt = null } = pending
    const connection = notBefore > Date.now() ? 'waiting' : 'connecting'
    this.#set({ ...IDLE, status: 'SUBMITTING', startedAt, connection })
    const submitting = this.#send(pending, notBefore)
    // `problem` reports it: callers need not handle the rejection.
    submitting.catch(() => undefined)
    return (this.#submitting = submitting)
  }

  async #send(pending: Pending, notBefore: number): Promise<Task> {
    const { signal } = this.#disposed
    const isCurrent = () => this.#saved.key === pending.key && !signal.aborted
    await this.#hold(notBefore)
    try {
      const { task, watchToken } = await sendUpscale(this.#options, pending, {
        isWanted: () => isCurrent() && !this.#isPaused,
        onConnection: (connection) => this.#set({ connection }),
        signal,
      })
      if (isCurrent()) this.#accept(task, watchToken)
      return task
    } catch (failure) {
      const error = toTransportError(failure)
      if (isCurrent()) {
        this.#submitting = undefined
        // The next `subscribe` sends it again.
        if (isUnanswered(error)) this.#stop()
        else this.#refuse(error)
      }
      throw error
    }
  }

  /** Waits until `retryAfterMs` is over, unless `cancel` is called. */
  async #hold(notBefore: number): Promise<void> {
    if (notBefore <= Date.now()) return
    const { signal } = (this.#held = new AbortController())
    await waitUntil(notBefore, signal)
    this.#held = undefined
    if (!signal.aborted) {
      this.#set({ connection: 'connecting' })
      return
    }
    const error = new FollowError('CANCELLED', 'The retry was canceled before it was sent.')
    this.#refuse(error)
    throw error
  }

  #accept(task: Task, watchToken: string | null): void {
    const { id } = task as Task & { readonly id: string }
    const { input, startedAt = Date.now() } = this.#saved
    this.#submitting = undefined
    this.#save({ id, watchToken, input, startedAt })
    this.#show(task)
    if (this.#isPaused) this.#stop()
    else this.#resume()
  }

  #refuse(error: FollowError): void {
    this.#submitting = undefined
    const { id, input, key } = this.#saved
    const isKeyUsed = error.taskId !== null || error.code === 'IDEMPOTENCY_KEY_REUSED'
    this.#save({})
    // For `retry`. With the same key the gateway finds a task that it may have stored despite the error.
    this.#saved = { id, input, key: isKeyUsed ? undefined : key }
    this.#set({ problem: error, status: 'FAILED', endedAt: Date.now(), connection: 'idle' })
  }

  async #follow(id: string): Promise<void> {
    const { signal } = (this.#stream = new AbortController())
    const problem = await followUpscale(this.#options, {
      id,
      watchToken: this.#saved.watchToken,
      signal,
      onState: (task) => this.#show(task),
      onConnection: (connection) => this.#set({ connection }),
    })
    if (!problem || signal.aborted) return
    this.#stop()
    this.#set({ problem })
  }

  /** Shows a state unless it is older than one shown before. A router may send older ones. */
  #show(task: Task): void {
    const { version, status } = task
    const { problem = null, estimatedDoneAt = null } = task as Partial<UpscaleTask>
    const saved = this.#saved
    const isSettled = status === 'SUCCEEDED' || status === 'FAILED'
    // As in `followTask`, the first settled state counts: a database may have been restored.
    if (version < (saved.version ?? 0) && (!isSettled || saved.settled !== undefined)) return
    if (JSON.stringify(task) === JSON.stringify(this.#snapshot.task)) return
    const { startedAt, endedAt } = toTimes(task, saved, Date.now())
    // Stored first: `onSettled` is called once, even if the page is closed now.
    this.#save({ ...saved, version, status, startedAt, ...(isSettled && { settled: version }) })
    if (isSettled) this.#stop()
    this.#set({
      task,
      status: status as UpscaleTask['status'],
      problem,
      startedAt,
      endedAt: isSettled ? endedAt : null,
      estimatedDoneAt,
    })
    // In a microtask: an error in the caller's function does not end the stream.
    if (isSettled && saved.settled !== version) queueMicrotask(() => this.#options.onSettled?.(task))
  }
}

/** `crypto.randomUUID` exists in secure contexts only. */
const createKey = () => crypto.getRandomValues(new Uint32Array(4)).join('-')
