import { isSettled, type UpscaleTask } from '../task.ts'

/**
 * Why a watch ends before its task settles: the owner has no such task, the authorization has expired, the
 * service stops, or the store is unavailable when the watch begins.
 */
export type WatchEnd = 'NOT_FOUND' | 'EXPIRED' | 'GOING_AWAY' | 'UNAVAILABLE'

/**
 * How a stream has ended. settled: no further state can follow. client: the client or its transport has ended
 * it. error: a task could not be read.
 */
export type StreamEnding = 'settled' | 'not_found' | 'token_expired' | 'going_away' | 'client' | 'error'

const ENDINGS = {
  NOT_FOUND: 'not_found',
  EXPIRED: 'token_expired',
  GOING_AWAY: 'going_away',
  UNAVAILABLE: 'error',
} as const

/** How a stream of one task ends after this event; null: it continues. */
export function toEnding(event: WatchEvent): StreamEnding | null {
  if (typeof event === 'string') return ENDINGS[event]
  return isSettled(event) ? 'settled' : null
}

/** Why a stream of many tasks ends. */
export type StreamEnd = Exclude<WatchEnd, 'NOT_FOUND'>

/** No event follows a WatchEnd. */
export type WatchEvent = UpscaleTask | WatchEnd

/** How long after a failed or outdated read the task is read again. */
const RETRY_MS = 1_000

/** The state of a watch. */
interface WatchState {
  /** The version sent last; null: the task has not been read yet. */
  readonly sent: number | null
  /** The newest unsent state. A newer one replaces it, so a slow reader needs no queue. */
  readonly pending: UpscaleTask | null
  /** When to read the task, and when to send the state again, on the monotonic clock. */
  readonly readAt: number
  readonly reassertAt: number
  /** Set when the watch must end; 'DONE': without a further event. */
  readonly end: WatchEnd | 'DONE' | null
}

export const INITIAL_STATE: WatchState = {
  sent: null,
  pending: null,
  readAt: -Infinity,
  reassertAt: Infinity,
  end: null,
}

/**
 * An input of a watch. A hint from another replica has no task. A read has null if there is no such task;
 * `elapsed`: when it ended, on the monotonic clock.
 */
export type WatchInput =
  | { readonly type: 'hint'; readonly task: UpscaleTask | undefined }
  | { readonly type: 'read'; readonly task: UpscaleTask | null; readonly elapsed: number }
  | { readonly type: 'readFailed'; readonly elapsed: number }
  | { readonly type: 'unavailable' | 'repeat' | 'end' | 'done' }

/** The next step of a watch. `state` is the state after the step. */
type WatchStep =
  | { readonly type: 'send'; readonly event: WatchEvent; readonly state: WatchState }
  | { readonly type: 'read'; readonly state: WatchState }
  | { readonly type: 'wait'; readonly ms: number }
  | { readonly type: 'done' }

export interface WatchRules {
  /** The version the client has. If it is the current one, the first event is omitted. */
  readonly afterVersion: number | null
  /** When the authorization ends, in Unix milliseconds; null: never. */
  readonly until: number | null
  /** How long after an event the same state is sent again. */
  readonly reassertMs: number
}

/** An instant: `now` on the wall clock, `elapsed` on the monotonic one. */
export interface Instant {
  readonly now: number
  readonly elapsed: number
}

/** The state after an input. Pure. */
export function toNextState(state: WatchState, input: WatchInput, rules: WatchRules): WatchState {
  // A read may finish after the watch has ended.
  if (state.end === 'DONE') return state
  switch (input.type) {
    case 'hint':
      if (input.task === undefined) return { ...state, readAt: -Infinity }
      return input.task.version > (state.pending?.version ?? state.sent ?? 0)
        ? { ...state, pending: input.task }
        : state
    case 'repeat':
      return { ...state, readAt: -Infinity, reassertAt: -Infinity }
    case 'end':
      return { ...state, end: state.end ?? 'GOING_AWAY' }
    case 'unavailable':
      return { ...state, end: state.end ?? 'UNAVAILABLE' }
    case 'done':
      return { ...state, end: 'DONE' }
    case 'read':
      return afterRead(state, input.task, input.elapsed, rules)
    case 'readFailed':
      return toRetry(state, input.elapsed)
    default:
      return input satisfies never
  }
}

function afterRead(
  state: WatchState,
  task: UpscaleTask | null,
  elapsed: number,
  { afterVersion, reassertMs }: WatchRules,
): WatchState {
  if (task === null) return { ...state, end: state.sent === null ? 'NOT_FOUND' : 'DONE' }
  const newest = state.pending !== null && state.pending.version > task.version ? state.pending : task
  if (state.sent === null) {
    if (newest.version !== afterVersion) return { ...state, pending: newest }
    return toSent(state, newest, elapsed + reassertMs)
  }
  // A replica of the database may lag: a lower version is never sent.
  if (newest.version < state.sent) return toRetry(state, elapsed)
  const isDue = newest.version > state.sent || elapsed >= state.reassertAt
  return { ...state, pending: isDue ? newest : null }
}

function toSent(state: WatchState, task: UpscaleTask, reassertAt: number): WatchState {
  const end = isSettled(task) ? 'DONE' : state.end
  return { ...state, sent: task.version, pending: null, reassertAt, end }
}

/** The state is not sent again before the next successful read. */
function toRetry(state: WatchState, elapsed: number): WatchState {
  const retryAt = elapsed + RETRY_MS
  return {
    ...state,
    readAt: Math.min(state.readAt, retryAt),
    reassertAt: Math.max(state.reassertAt, retryAt),
  }
}

/** Decides what a watch does next: ends come first, then a read that is due, then the pending state. Pure. */
export function decide(state: WatchState, { now, elapsed }: Instant, rules: WatchRules): WatchStep {
  if (state.end === 'DONE') return { type: 'done' }
  const until = rules.until ?? Infinity
  const end = state.end ?? (now >= until ? 'EXPIRED' : null)
  if (end !== null) return { type: 'send', event: end, state: { ...state, end: 'DONE' } }
  if (elapsed >= state.readAt) return { type: 'read', state: { ...state, readAt: Infinity } }
  if (state.pending !== null)
    return {
      type: 'send',
      event: state.pending,
      state: toSent(state, state.pending, elapsed + rules.reassertMs),
    }
  if (elapsed >= state.reassertAt) return { type: 'read', state }
  return { type: 'wait', ms: Math.min(state.readAt - elapsed, state.reassertAt - elapsed, until - now) }
}
