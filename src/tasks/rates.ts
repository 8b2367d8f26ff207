/** The ports of rate limits. */
import type { FailureCause } from './failure.ts'

/** Why a submit is refused, and for how long. */
export type RateRefusal = FailureCause & { readonly retryAfterMs: number }

/**
 * The remaining part of a rate limit. `resetAt`: when the next one that is counted stops counting; null: none
 * is counted.
 */
export interface RateBudget {
  readonly limit: number
  readonly remaining: number
  readonly resetAt: number | null
}

/** The rate limits of submits, per owner and for the account of each engine. */
export interface RateLimits {
  /** Counts one new submit, or returns why it is refused; a refused submit is not counted. */
  take(owner: string, engine: string): Promise<RateRefusal | null>
  /** As `take`, by the owner's limit only: for requests that no engine sees. */
  takeForOwner(owner: string): Promise<RateRefusal | null>
  /**
   * Counts one submit by the limit of the engine's account only and returns null, or counts none and returns
   * how long to wait, in milliseconds. `evenly`: counts at most a tenth of the limit in a tenth of its
   * window, so that a later submit finds some of the limit left.
   */
  takeAccount(engine: string, evenly: boolean): Promise<number | null>
  /** Returns a submit that was taken and not sent. */
  giveBackAccount(engine: string): Promise<void>
  /** The limit of the engine's account; null: no limit. */
  account(engine: string, now: number): Promise<RateBudget | null>
}

/** Limits the polls per second of all tasks and replicas. */
export interface PollBudget {
  /**
   * Takes up to `wanted` polls and returns how many. `spared`: the share of a second's polls (0 to 1) that
   * must stay free. Callers of `wait` have priority.
   */
  take(wanted: number, spared?: number): Promise<number>
  /** Returns polls that were taken and not made. */
  giveBack(count: number): Promise<void>
  /** Waits for one poll; false if none is free within `timeoutMs`. */
  wait(timeoutMs: number): Promise<boolean>
}
