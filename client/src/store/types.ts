import type { TypedDocument } from '../document.ts'
import { PROBLEM, type Problem } from '../errors.ts'
import type { AnyTask } from '../follow.ts'
import type { UpscaleStorage } from './storage.ts'
import type { UpscaleImageInput } from '../submit.ts'
import type { Transport } from '../transport.ts'

/** What the store always selects, and more fields. */
export const toSelection = (more = ''): string =>
  `id createdAt settledAt estimatedDoneAt imageIndex waterMark source { id }
queue { position estimatedStartAt } images { url width height thumbhash expiresAt } ${PROBLEM} ${more}`

/** A task with the fields that the store always selects. Your own type may have more: `selection`. */
export interface UpscaleTask extends AnyTask {
  readonly id: string
  readonly status: 'SUBMITTED' | 'PROCESSING' | 'SUCCEEDED' | 'FAILED'
  readonly createdAt: string
  readonly settledAt: string | null
  readonly estimatedDoneAt: string | null
  readonly imageIndex: number
  readonly waterMark: string | null
  readonly source: { readonly id: string }
  readonly queue: { readonly position: number; readonly estimatedStartAt: string | null } | null
  readonly images: readonly UpscaledImage[] | null
  readonly problem: Problem | null
}

export interface UpscaledImage {
  readonly url: string
  readonly width: number | null
  readonly height: number | null
  /** A placeholder of about 25 bytes (ThumbHash), in Base64. */
  readonly thumbhash: string | null
  readonly expiresAt: string | null
}

/** Read at each use: properties may be getters that return the latest values. */
export interface UpscaleOptions<Task extends AnyTask = UpscaleTask> {
  /** A client of graphql-ws, or that of `createHttpTransport`. */
  readonly client: Transport
  /** Fields to select besides those of `UpscaleTask`. */
  readonly selection?: string | undefined
  /**
   * Typed documents instead of `selection`. What `UpscaleTask` has and they do not select, the snapshot
   * lacks.
   */
  readonly documents?:
    | {
        /** As for `submit`. */
        readonly submit: TypedDocument<{ readonly upscaleImage?: { readonly task?: Task | null } | null }>
        /** As for `followTask`. */
        readonly follow: TypedDocument<{ readonly taskUpdated?: Task | null }>
      }
    | undefined
  /** Makes a reload resume. Absent: the task is lost with the store. */
  readonly storage?: UpscaleStorage | undefined
  /**
   * Called once for each settled version of a task, also across reloads if there is a `storage`. A task
   * settles once, except that a late result may follow a failure: then it is called again, with the success.
   */
  readonly onSettled?: ((task: Task) => void) | undefined
}

export interface UpscaleSnapshot<Task extends AnyTask = UpscaleTask> {
  /** The newest state; null until the first one has arrived. */
  readonly task: Task | null
  /**
   * That of the task. FAILED without a task: the submit was refused. IDLE: there is no task, or its state is
   * not read yet.
   */
  readonly status: 'IDLE' | 'SUBMITTING' | UpscaleTask['status']
  /**
   * Why the submit was refused, the task has failed, or it cannot be followed (`status` is unchanged then).
   */
  readonly problem: Problem | null
  /** When it was submitted, by this device's clock, in milliseconds since 1970. */
  readonly startedAt: number | null
  /** When it ended, by the same clock. */
  readonly endedAt: number | null
  /** How long it runs, or took, in milliseconds. While it runs, it changes once a second. */
  readonly elapsedMs: number
  /** While PROCESSING: by when nine in ten tasks settle. Null if it is not known. */
  readonly estimatedDoneAt: string | null
  /** `idle`: nothing runs. `waiting`: offline, or between two attempts. */
  readonly connection: 'idle' | 'connecting' | 'live' | 'waiting'
}

export const IDLE: UpscaleSnapshot<never> = {
  task: null,
  status: 'IDLE',
  problem: null,
  startedAt: null,
  endedAt: null,
  elapsedMs: 0,
  estimatedDoneAt: null,
  connection: 'idle',
}

/** One upscale after another. Each method works without `this`. */
export interface Upscale<Task extends AnyTask = UpscaleTask> {
  /** The same object until something changes. */
  getSnapshot(): UpscaleSnapshot<Task>
  /**
   * Calls the listener at once, and after each change (the contract of Svelte's stores and of
   * `useSyncExternalStore`). The first subscription resumes the task of the storage. When the last listener
   * is removed, the stream is closed until the next `subscribe`.
   */
  subscribe(listener: (snapshot: UpscaleSnapshot<Task>) => void): () => void
  /**
   * Submits, and follows the task instead of an earlier one. Resolves when the task is stored. A second call
   * with an equal input while the first one has no answer returns the same promise.
   * @throws FollowError if it is refused. `problem` of the snapshot has the same: the promise may be ignored.
   */
  submit(input: UpscaleImageInput): Promise<Task>
  /** Follows an existing task. */
  follow(id: string, options?: { readonly watchToken?: string | null | undefined }): void
  /**
   * After a refusal or a failure: submits the same input again, after `retryAfterMs`. A task that has not
   * settled is followed again; it is not submitted a second time. Without anything to retry it fails with
   * TASK_NOT_FOUND.
   * @throws FollowError as `submit` does.
   */
  retry(): Promise<Task>
  /**
   * Withdraws the task from the queue. It then fails with CANCELLED. Without a task it does nothing.
   * @throws FollowError with TOO_LATE_TO_CANCEL if the task has been sent. It is still followed.
   */
  cancel(): Promise<void>
  /** Ends the stream or submit at once, and removes all listeners. */
  dispose(): void
}
