import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Log, TaskHints } from '../tasks/ports.ts'
import { createLocalHints } from './local-hints.ts'
import { openRedisClient } from './redis-client.ts'

export interface RedisHintsOptions {
  readonly url: string
  readonly log: Log
  /** Told how old a hint of another replica was when it came, in milliseconds by both machines' clocks. */
  readonly onHint?: (lagMs: number) => void
}

const PREFIX = 'upscale:task:'
/** A watcher waits for its subscription no longer than this: until it stands, it looks for itself. */
const SUBSCRIBE_TIMEOUT_MS = 1_000

/**
 * Hints over Redis (or Valkey) publish/subscribe, for fleets so large that not every replica can hear every hint:
 * each task has a channel of its own, and a replica subscribes to those that its clients watch. After a
 * reconnect everything is subscribed anew, and then everyone is woken.
 */
export async function openRedisHints({
  url,
  log,
  onHint,
}: RedisHintsOptions): Promise<TaskHints & AsyncDisposable> {
  const local = createLocalHints()
  const self = randomUUID()
  const onFault = (reason: string) =>
    log.warn({}, `Redis: ${reason}. Until then hints of other replicas get lost`)
  // Subscriptions are made anew by hand: everyone is to be woken after that.
  const subscribing = await openRedisClient(url, { autoResubscribe: false }, onFault)
  // A hint that cannot be sent now is dropped: stale hints are useless.
  const publishing = await openRedisClient(url, { enableOfflineQueue: false }, onFault)
  const [subscriber, publisher] = [subscribing.redis, publishing.redis]
  /** How many listen to each task, and the subscription they share. */
  const channels = new Map<string, { count: number; readonly subscribed: Promise<unknown> }>()

  subscriber.on('message', (channel: string, message: string) => {
    const [sender, sentAt] = message.split(' ')
    if (sender === self) return
    onHint?.(Date.now() - Number(sentAt))
    local.announce(channel.slice(PREFIX.length))
  })
  subscriber.on('ready', () => {
    const names = [...channels.keys()].map((taskId) => PREFIX + taskId)
    if (names.length === 0) return
    // Everyone is woken only once the subscriptions stand again.
    subscriber.subscribe(...names).then(
      () => local.announceAll(),
      () => undefined,
    )
  })

  return {
    announce(taskId, state) {
      local.announce(taskId, state)
      publisher.publish(PREFIX + taskId, `${self} ${Date.now()}`).catch(() => undefined)
    },
    async listen(taskId, wake) {
      const listener = await local.listen(taskId, wake)
      const channel = channels.get(taskId) ?? {
        count: 0,
        subscribed: subscriber.subscribe(PREFIX + taskId).catch(() => undefined),
      }
      channel.count += 1
      channels.set(taskId, channel)
      let disposed = false
      const timeout = new AbortController()
      const late = pause(SUBSCRIBE_TIMEOUT_MS, true, { signal: timeout.signal }).catch(() => false)
      const isLate = await Promise.race([channel.subscribed.then(() => false), late])
      timeout.abort()
      // Hints may have been missed until then.
      if (isLate) void channel.subscribed.then(() => disposed || wake())
      return {
        [Symbol.dispose]() {
          listener[Symbol.dispose]()
          if (disposed) return
          disposed = true
          channel.count -= 1
          if (channel.count > 0) return
          channels.delete(taskId)
          subscriber.unsubscribe(PREFIX + taskId).catch(() => undefined)
        },
      }
    },
    [Symbol.asyncDispose]() {
      subscribing[Symbol.dispose]()
      publishing[Symbol.dispose]()
      return Promise.resolve()
    },
  }
}
