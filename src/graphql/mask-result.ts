import type { FormattedExecutionResult, GraphQLError } from 'graphql'
import type { Log } from '../tasks/ports.ts'
import { toPublicError } from './errors.ts'

interface Result {
  readonly errors?: readonly GraphQLError[] | undefined
  readonly data?: Record<string, unknown> | null | undefined
}

/** Masks the errors of an execution result. */
export function maskResult(
  { errors, data }: Result,
  correlationId: string,
  log: Log,
): FormattedExecutionResult {
  return {
    ...(errors && { errors: errors.map((error) => toPublicError(error, correlationId, log)) }),
    ...(data !== undefined && { data }),
  }
}
