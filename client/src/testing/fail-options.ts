/** A module of its own, so that the package's declarations need none of the internal modules. */
export interface FailOptions {
  /**
   * Only the next operation with this field fails, such as `taskUpdated`. Default: the next one, whatever it
   * is.
   */
  readonly field?: string
  readonly message?: string
  readonly retryable?: boolean
  readonly retryAfterMs?: number
}
