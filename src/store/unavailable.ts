import { StoreUnavailableError } from '../tasks/store-port.ts'

/** Whether a driver's error means that the database is away, and that nothing is wrong with the statement. */
type IsAway = (error: unknown) => boolean

/** Returns the promise. An error that means that the database is away becomes a StoreUnavailableError. */
export function orUnavailable<T>(work: Promise<T>, isAway: IsAway): Promise<T> {
  return work.catch((error: unknown) => {
    throw toUnavailable(error, isAway)
  })
}

/**
 * A StoreUnavailableError if the error, its cause or one of its parts means that the database is away; else
 * the error.
 */
export function toUnavailable(error: unknown, isAway: IsAway): unknown {
  if (error instanceof StoreUnavailableError || !listParts(error).some(isAway)) return error
  return new StoreUnavailableError(`The database is unavailable: ${toReason(error)}`, { cause: error })
}

/** The error, its causes, and the errors of an AggregateError. */
function listParts(error: unknown): Error[] {
  // Not `instanceof`: errors of Node can be of another realm.
  if (!Error.isError(error)) return []
  const parts = 'errors' in error && Array.isArray(error.errors) ? error.errors.flatMap(listParts) : []
  return [error, ...parts, ...listParts(error.cause)]
}

/** The message of an AggregateError can be empty; its parts have one. */
function toReason(error: unknown): string {
  return listParts(error).find(({ message }) => message !== '')?.message ?? String(error)
}
