/**
 * The wire format of an upstream, as pure functions that do not throw. http-engine.ts runs every dialect over
 * HTTP.
 */
import type {
  Callback,
  PollAnswer,
  SubmitAnswer,
  SubmitRequest,
  UnsupportedField,
} from '../tasks/engines/engine-ports.ts'
import type { UpscaleErrorCode } from '../tasks/failure.ts'
import type { Picture } from '../tasks/task.ts'

/** An answer over HTTP. */
export interface WireAnswer {
  readonly status: number
  /** The parsed JSON; null if the body is empty, undefined if it is not JSON or incomplete. */
  readonly body: unknown
  /** From Retry-After; null: absent. */
  readonly retryAfterMs: number | null
}

interface WireRequest {
  /** The path with its query, after the base of the upstream. */
  readonly path: string
  /** The JSON to post. */
  readonly body: object
}

export interface DialectSubmit extends Omit<SubmitRequest, 'traceparent'> {
  /** The URL of the picture; null unless `needsSourceUrl`. */
  readonly sourceUrl: string | null
}

/**
 * The URLs of the pictures by image index, null where there is no usable one. Null: the task is unknown, or
 * has no pictures (yet). unavailable: the answer says nothing about the task.
 */
export type SourcePictures = readonly (string | null)[] | null | 'unavailable'

export interface Dialect {
  /** The headers that authenticate the gateway. */
  toHeaders(apiKey: string): Readonly<Record<string, string>>
  readonly signsCallbacks: boolean
  /** Whether the submit names the picture by its URL. The URL is then read by `source` first. */
  readonly needsSourceUrl: boolean
  findUnsupported(picture: Picture): UnsupportedField | null
  toSubmit(request: DialectSubmit): WireRequest
  /** By the rule of submit-rule.ts: a refusal needs evidence. */
  parseSubmit(answer: WireAnswer): SubmitAnswer
  /** Whether a refusal with UPSTREAM_NOT_FOUND concerns the endpoint and not the source task. */
  isEndpointMissing(answer: WireAnswer): boolean
  toPollPath(upstreamTaskId: string): string
  parsePoll(answer: WireAnswer): PollAnswer
  readonly source: {
    toPath(sourceTaskId: string): string
    /** The pictures of the task. */
    parse(answer: WireAnswer): SourcePictures
  }
  /** Null: the upstream has no such endpoint. */
  readonly credits: { readonly path: string; parse(answer: WireAnswer): number | null } | null
  /** Undefined if the body is not a callback of this upstream. */
  parseCallback(body: unknown): Callback | undefined
  /**
   * The upstream's codes and ours, for documentation and tests. A code that is not listed is
   * UPSTREAM_PROTOCOL_ERROR.
   */
  readonly codes: readonly DialectCode[]
}

/** A code of an upstream. */
export interface DialectCode {
  /** Where the upstream sends it, such as `submit`, `poll, callback`. */
  readonly at: string
  readonly upstreamCode: number
  /** What the upstream means by it. */
  readonly meaning: string
  /** Null: it is not a failure. */
  readonly code: UpscaleErrorCode | null
}
