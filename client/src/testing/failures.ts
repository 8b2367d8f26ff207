import { CATALOGUE, UNAVAILABLE } from './catalogue.ts'
import { RequestError } from './execute.ts'
import type { FailOptions } from './fail-options.ts'

/** A failure that a test has asked for. */
export interface Failure extends FailOptions {
  readonly code: string
}

interface Defaults {
  readonly message: string
  readonly retryable: boolean
  readonly retryAfterMs: number | null
}

/** The GraphQL error of a failure. */
export function toFailureError({ code, field: _, ...options }: Failure): RequestError {
  const { message, ...facts } = { ...toDefaults(code), ...options }
  return new RequestError(code, message, facts)
}

/** Whether a submit that fails with this code has a `problem`. */
export function isRefusal({ code }: Failure): boolean {
  return CATALOGUE.some((entry) => entry.code === code)
}

function toDefaults(code: string): Defaults {
  if (code === 'SERVICE_UNAVAILABLE') return UNAVAILABLE
  const entry = CATALOGUE.find((each) => each.code === code)
  return entry
    ? { message: entry.description, retryable: entry.retryable, retryAfterMs: entry.retryAfterMs }
    : { message: `The test lets this operation fail with ${code}.`, retryable: false, retryAfterMs: null }
}
