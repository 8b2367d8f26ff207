import type { OperationLimit } from '../graphql/limits.ts'
import type { HttpObserver, TransportLimit } from '../http/http-observer.ts'
import type { TaskLimit, TaskObserver } from '../tasks/observer.ts'

/** What the parts of the service report for metrics. */
export interface MetricEvents extends TaskObserver, HttpObserver {
  /** A callback of the upstream was answered with this HTTP status, after this many milliseconds. */
  onCallback(status: number, ms: number): void
  /** A request to the upstream ended: with the code of its answer, `unreachable` or `lost`. */
  onUpstream(engine: string, operation: string, outcome: string, ms: number): void
  /** The circuit of an engine is now in this state. */
  onCircuit(engine: string, circuit: string): void
  /** A GraphQL operation of this type has ended, with this code: `OK`, or that of its first error. */
  onOperation(type: string, code: string, ms: number): void
  /**
   * A hint of another replica arrived this many milliseconds after it was sent; negative if its clock is
   * ahead.
   */
  onHint(lagMs: number): void
  /** A token was refused, or a required one is missing. `reason` is one of a fixed set. */
  onAuthRefusal(reason: string): void
  /** An attempt of a delivery ended. */
  onDelivery(outcome: string): void
  /** An attempt to inspect and copy an image ended. `outcome`: the state of its copy. */
  onResult(outcome: string): void
  /** A limit has refused a request. */
  onRefusal(limit: TaskLimit | TransportLimit | OperationLimit): void
}
