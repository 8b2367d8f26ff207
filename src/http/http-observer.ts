import type { StreamEnding } from '../tasks/watch/watch-state.ts'

/** How the events of a stream reach its client. */
export type StreamKind = 'websocket' | 'sse' | 'router_callback'

/** A limit of a transport that refuses sockets, operations or streams. */
export type TransportLimit =
  'owner_sockets' | 'guest_sockets' | 'socket_operations' | 'guest_streams' | 'http_streams'

/** Gets what happens on the transports, for metrics. Its methods do not throw. */
export interface HttpObserver {
  onStreamOpen(kind: StreamKind): void
  /**
   * `ending` null: the stream ended before its first event was requested, such as the probe of a router
   * callback.
   */
  onStreamEnd(kind: StreamKind, ending: StreamEnding | null): void
  onRefusal(limit: TransportLimit): void
}
