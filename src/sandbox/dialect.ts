import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { CreateRequest, SandboxTask } from './kept-tasks.ts'

/**
 * The wire format of one adapter's upstream. All dialects share the tasks, the scenarios, the pictures and
 * the account's limit.
 */
export interface Dialect {
  /** Stored with each task, and part of scenario ids such as `sandbox-legnext-hang`. */
  readonly name: string
  /** The API key of a request; empty: none. */
  readonly toKey: (headers: IncomingHttpHeaders) => string
  readonly unauthorized: Answer
  readonly submits: readonly SubmitRoute[]
  /** How many states a running task passes through. */
  readonly steps: number
  /** Whether each of these states is called back too, as the completion is. */
  readonly announcesSteps: boolean
  /** Whether callbacks have the kie.ai signature when the account has a key. */
  readonly signsCallbacks: boolean
  /**
   * The refusal that is nearest to a kie.ai code. `httpStatus`: the scenario's; absent: the dialect's own.
   */
  readonly refuse: (code: number, httpStatus?: number) => Answer
  /** The answer to an accepted submit. */
  readonly accept: (task: SandboxTask, state: TaskState, extra: string | null) => Answer
  /** An answer of success that names no task. */
  readonly acceptWithoutId: Answer
  /**
   * The answer to `sandbox-existing` when the picture was submitted before. Absent: each submit creates a
   * task.
   */
  readonly answerExisting?: (task: SandboxTask, state: TaskState) => Answer
  /** Whether `sandbox-instant` is completed in the answer to its submit. */
  readonly completesInstantly: boolean
  /** Whether an id is that of a generation, even if it was never submitted as a source. */
  readonly isGeneration: (id: string) => boolean
  readonly toCallback: (task: SandboxTask, state: TaskState) => object
  /** Adds the routes that report tasks and credits. */
  readonly addReads: (api: FastifyInstance, reads: Reads) => void
}

export interface Answer {
  readonly status: number
  /** An empty string: no body. */
  readonly body: object | ''
}

interface SubmitRoute {
  readonly path: string
  readonly parse: (body: unknown) => Submit | Invalid
}

export interface Submit {
  readonly request: CreateRequest
  /** What the dialect repeats in its records. */
  readonly details?: Readonly<Record<string, string>>
}

/** A submit that is refused with this code, as `refuse` takes it. */
export interface Invalid {
  readonly code: number
}

/** `step` counts from 0. `code` is a kie.ai code, 200 for success. */
export type TaskState =
  | { readonly kind: 'running'; readonly step: number }
  | { readonly kind: 'completed'; readonly at: number; readonly code: number }

export interface Reads {
  /** A task of this dialect, and its state now. */
  find(id: string): Promise<{ readonly task: SandboxTask; readonly state: TaskState } | undefined>
  /**
   * The generation of a source task id that was submitted, or for which `isGeneration` is true. Ids of 32
   * hexadecimal digits, the form of the sandbox's own ids, are known only once they were submitted.
   */
  findGeneration(id: string, incoming: FastifyRequest): Promise<Generation | undefined>
  /** The credits that are left. All dialects share one balance. */
  credits(): Promise<number>
}

/** URLs of the pictures of a generation. */
export interface Generation {
  readonly pictures: readonly string[]
  /** All four in one picture. */
  readonly grid: string
}

export function toState(task: SandboxTask, code: number, steps: number, now: number): TaskState {
  const { createdAt, dueAt, completedAt } = task
  // A task that is due counts as completed, even if no process was running.
  const at = completedAt ?? (dueAt <= now ? dueAt : null)
  if (at !== null) return { kind: 'completed', at, code }
  const step = Math.floor((steps * (now - createdAt)) / (dueAt - createdAt))
  return { kind: 'running', step: Math.max(0, step) }
}
