/** The port of an engine, an account at an upstream. test/contract/engine.ts tests it on every adapter. */
import type { FailureCause } from '../failure.ts'
import type { Picture } from '../task.ts'

export interface SubmitRequest extends Picture {
  /** Where the engine posts its callback; null: the task is only polled. */
  readonly callBackUrl: string | null
  /** The header `traceparent` of the request (W3C Trace Context); null: none. */
  readonly traceparent: string | null
}

/** `note` is a readable description of the answer; for unknown it continues "the answer was …". */
export type SubmitAnswer =
  /** Charged and running. `outcome`: it has settled already. */
  | { readonly kind: 'accepted'; readonly upstreamTaskId: string; readonly outcome?: Outcome }
  /** Not accepted; no result will come. */
  | {
      readonly kind: 'refused'
      readonly failure: FailureCause
      readonly note: string
      /** Set if the engine takes no tasks at all. */
      readonly engineUnavailable?: true
      /** Set if the engine does not know the source task. */
      readonly sourceUnknown?: true
      /** Set if the proof is too weak to send the task again, to this engine or another. */
      readonly doubtful?: true
    }
  /** The request was sent and may have been accepted and charged. */
  | { readonly kind: 'unknown'; readonly note: string }

export interface Result extends Dropped, Consumption {
  /** Absolute http(s) URLs, each once. */
  readonly imageUrls: readonly string[]
}

/** The log message for `dropped`. */
export const URLS_DROPPED =
  'result URLs were dropped: unusable, too many, or on a host that ENGINES does not allow'

interface Dropped {
  /** How many other URLs were unusable, too many, or on a host that is not allowed; missing if none. */
  readonly dropped?: number
}

interface Consumption {
  /**
   * The credits that the task cost, in the unit of the engine; missing if the engine does not report them.
   */
  readonly creditsConsumed?: number
}

/** A final outcome. */
export type Outcome =
  ({ readonly kind: 'succeeded' } & Result) | ({ readonly kind: 'failed' } & UpstreamFailure)

interface UpstreamFailure extends Consumption {
  readonly failure: FailureCause
}

/**
 * The answer to a poll. failed: `recorded` is false if the failure code came without a record of the task.
 * pending: not finished. notFound: the engine does not know the task (normal in the first minute).
 * unavailable: the request failed, which says nothing about the task.
 */
export type PollAnswer =
  | ({ readonly kind: 'succeeded' } & Result)
  | ({ readonly kind: 'failed'; readonly recorded: boolean } & UpstreamFailure)
  | ({ readonly kind: 'pending' } & Dropped)
  | { readonly kind: 'notFound'; readonly upstreamCode: number }
  | { readonly kind: 'unavailable' }

/**
 * The content of a callback. pending: the task runs. inconclusive: it reports that the task has ended, but
 * not how, and causes a poll.
 */
export interface Callback {
  readonly upstreamTaskId: string
  readonly outcome: Outcome | { readonly kind: 'pending' } | ({ readonly kind: 'inconclusive' } & Dropped)
}

/** A field of the input that an engine does not support. */
export interface UnsupportedField {
  readonly field: 'taskId' | 'imageIndex' | 'waterMark'
  /** Readable, as the end of a sentence: what the engine requires instead. */
  readonly reason: string
}

export interface ReadOptions {
  readonly timeoutMs: number
  readonly correlationId: string
}

/** Every outcome is a value: these methods do not throw. */
export interface Engine {
  /** The name in ENGINES. */
  readonly name: string
  /** LIVE: real, and costs credits. SANDBOX: simulated. */
  readonly mode: 'LIVE' | 'SANDBOX'
  /** Whether its callbacks have the signature that UPSTREAM_WEBHOOK_KEYS verify. */
  readonly signsCallbacks: boolean
  /** The first field of the input that it does not support; null: it supports the input. */
  findUnsupported(picture: Picture): UnsupportedField | null
  /** Sends the paid request at most once. */
  submit(request: SubmitRequest, correlationId: string): Promise<SubmitAnswer>
  /** Reads the state of an accepted task; free of charge. */
  poll(upstreamTaskId: string, options: ReadOptions): Promise<PollAnswer>
  /**
   * The URLs of the pictures of a source task, by image index. Null: the engine does not know the task, or
   * has no pictures of it. unavailable: the request failed, which says nothing about the task. Free of
   * charge.
   */
  readSource(sourceTaskId: string, options: ReadOptions): Promise<readonly string[] | null | 'unavailable'>
  /** The credits that the account has left; null if the engine does not report them. */
  credits(options: ReadOptions): Promise<number | null>
  /** Undefined if the body is not a callback of this engine. */
  parseCallback(body: unknown): Callback | undefined
}

/** The engines of ENGINES. */
export interface Engines {
  /** In the order of ENGINES; the first is the default. Never empty. */
  readonly all: readonly Engine[]
  /** Undefined: ENGINES does not name it (any more). */
  find(name: string): Engine | undefined
  /**
   * False: its circuit is open. With ENGINE_FALLBACK, tasks then begin with another engine that supports
   * their input.
   */
  isAvailable(name: string): boolean
}
