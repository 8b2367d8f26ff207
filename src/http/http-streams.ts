import type { StreamTransport } from '../graphql/context.ts'
import { requestError } from '../graphql/errors.ts'
import type { WatchControl } from '../tasks/watch.ts'
import { ANONYMOUS, type Identity } from './auth.ts'

/** The subscriptions that run on HTTP: as server-sent events, or posted to a router. */
export interface HttpStreams {
  /** What HTTP sees to while a subscription of this caller runs. */
  transport(identity: Identity): StreamTransport
  count(): number
  /** Ends every stream with GOING_AWAY; resolves when they have ended. */
  drain(): Promise<void>
}

/** `limit`: streams that one owner may have at once; null: any number. Like sockets, those of `anonymous` are not counted. */
export function createHttpStreams(limit: number | null): HttpStreams {
  const owners = new Map<string, number>()
  const watches = new Set<WatchControl>()
  let onEmpty: (() => void) | undefined

  const count = (owner: string, step: 1 | -1) => {
    const counted = (owners.get(owner) ?? 0) + step
    if (limit !== null && counted > limit)
      throw requestError('TOO_MANY_OPERATIONS', 'Too many of your subscriptions run already.')
    if (counted > 0) owners.set(owner, counted)
    else owners.delete(owner)
  }
  return {
    transport: (identity) => ({
      until: identity.expiresAt,
      afterVersion: null,
      onOpen(watch) {
        const { owner } = identity
        const counts = owner !== null && identity !== ANONYMOUS
        if (counts) count(owner, 1)
        watches.add(watch)
        return {
          [Symbol.dispose]() {
            if (!watches.delete(watch)) return
            if (counts) count(owner, -1)
            if (watches.size === 0) onEmpty?.()
          },
        }
      },
    }),
    count: () => watches.size,
    async drain() {
      if (watches.size === 0) return
      const { promise, resolve } = Promise.withResolvers<void>()
      onEmpty = resolve
      for (const watch of watches) watch.end()
      await promise
    },
  }
}
