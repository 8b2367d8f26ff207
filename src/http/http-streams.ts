import type { StreamTransport } from '../graphql/context.ts'
import { requestError } from '../graphql/errors.ts'
import type { WatchControl } from '../tasks/watch/watch.ts'
import { ANONYMOUS, type Identity } from './authorize.ts'
import { Counts, toOwnerKey, toTaskKey } from './counts.ts'
import type { HttpObserver, StreamKind } from './http-observer.ts'

/** The subscriptions over HTTP: as server-sent events, or posted to a router. */
export interface HttpStreams {
  /** The transport of this caller's subscriptions. */
  transport(identity: Identity, kind: Exclude<StreamKind, 'websocket'>): StreamTransport
  count(): number
  /** Ends all streams with GOING_AWAY. Resolves when they have ended. */
  drain(): Promise<void>
}

/**
 * `limit`: the streams of one owner, or of all guests of one task together; null: no limit. Without
 * authentication there is no limit.
 */
export function createHttpStreams(limit: number | null, observer: HttpObserver): HttpStreams {
  const counts = new Counts(limit)
  const watches = new Set<WatchControl>()
  let onEmpty: (() => void) | undefined
  let isDraining = false

  const take = (identity: Identity, guestTask: string | null) => {
    if (identity === ANONYMOUS) return undefined
    const key = identity.owner === null ? toTaskKey(guestTask ?? '') : toOwnerKey(identity.owner)
    const place = counts.take(key)
    if (place) return place
    observer.onRefusal('http_streams')
    throw requestError('TOO_MANY_OPERATIONS', 'You have too many subscriptions.')
  }
  return {
    transport: (identity, kind) => ({
      until: identity.expiresAt,
      afterVersion: null,
      onOpen(watch, guestTask) {
        const place = take(identity, guestTask)
        watches.add(watch)
        observer.onStreamOpen(kind)
        return {
          [Symbol.dispose]() {
            place?.[Symbol.dispose]()
            if (!watches.delete(watch)) return
            const ending = watch.ending()
            observer.onStreamEnd(kind, ending === 'client' && isDraining ? 'going_away' : ending)
            if (watches.size === 0) onEmpty?.()
          },
        }
      },
    }),
    count: () => watches.size,
    async drain() {
      isDraining = true
      if (watches.size === 0) return
      const { promise, resolve } = Promise.withResolvers<void>()
      onEmpty = resolve
      for (const watch of watches) watch.end()
      await promise
    },
  }
}
