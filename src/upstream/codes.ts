import { toFailure, type FailureCause } from '../tasks/failure.ts'
import type { DialectCode } from './dialect.ts'

/**
 * The failure for an upstream code, by the table of a dialect. A code that the table does not map is a
 * protocol error.
 */
export function findFailure(codes: readonly DialectCode[], upstreamCode: number): FailureCause {
  const listed = codes.find((each) => each.upstreamCode === upstreamCode)
  return toFailure(listed?.code ?? 'UPSTREAM_PROTOCOL_ERROR', upstreamCode)
}
