import { toFailure, type FailureCause } from '../tasks/failure.ts'
import type { DialectCode } from './dialect.ts'

/** The failure of an upstream code by a dialect's table. A code that it does not list as a failure is a protocol error. */
export function findFailure(codes: readonly DialectCode[], upstreamCode: number): FailureCause {
  const listed = codes.find((each) => each.upstreamCode === upstreamCode)
  return toFailure(listed?.code ?? 'UPSTREAM_PROTOCOL_ERROR', upstreamCode)
}
