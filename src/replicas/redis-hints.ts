import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { Log } from '../tasks/ports.ts'
import type { UpscaleTask } from '../tasks/task.ts'
import { LocalHints, type SharedHints } from './local-hints.ts'
import { IS_REPORTED, openRedisClient } from './redis-client.ts'

interface RedisHintsOptions {
  readonly url: string
  readonly log: Log
  /** Called with the age of each hint of another replica in milliseconds: the difference of both machines' clocks. */
  readonly onHint?: (lagMs: number) => void
}

const PREFIX = 'upscale:task:'
/** How long a listener waits for its subscription; until it is confirmed, the watcher re-reads its task. */
const SUBSCRIBE_TIMEOUT_MS = 1_000

/**
 * Hints over Redis (or Valkey) publish/subscribe, for many replicas, where not every replica can receive every hint.
 * Each topic has its own channel, and a replica subscribes to the topics that its clients watch.
 */
export async function openRedisHints(options: RedisHintsOptions): Promise<SharedHints> {
  const { url, log, onHint } = options
  const onFault = (reason: string) =>
    log.warn({}, `Redis: ${reason}. Until then hints of other replicas get lost`)
  // RedisHints resubscribes itself: after that it wakes all listeners.
  const subscriber = await openRedisClient(url, { autoResubscribe: false }, onFault)
  // A hint that cannot be sent now is dropped: stale hints are useless.
  const publisher = await openRedisClient(url, { enableOfflineQueue: false }, onFault)
  return new RedisHints(subscriber, publisher, onHint)
}

/** A subscription that all listeners of a topic share. */
interface Channel {
  listeners: number
  readonly subscribed: Promise<unknown>
}

class RedisHints extends LocalHints implements SharedHints {
  readonly #self = randomUUID()
  readonly #channels = new Map<string, Channel>()
  readonly #subscriber: Redis & Disposable
  readonly #publisher: Redis & Disposable

  constructor(
    subscriber: Redis & Disposable,
    publisher: Redis & Disposable,
    onHint: RedisHintsOptions['onHint'],
  ) {
    super()
    this.#subscriber = subscriber
    this.#publisher = publisher
    subscriber.on('message', (channel: string, message: string) => {
      const [sender, sentAt] = message.split(' ')
      if (sender === this.#self) return
      onHint?.(Date.now() - Number(sentAt))
      super.announce(channel.slice(PREFIX.length))
    })
    subscriber.on('ready', () => this.#resubscribe())
  }

  get isUp(): boolean {
    return this.#subscriber.status === 'ready'
  }

  override announce(topic: string, state?: UpscaleTask): void {
    super.announce(topic, state)
    this.#publisher.publish(PREFIX + topic, `${this.#self} ${Date.now()}`).catch(IS_REPORTED)
  }

  override async listen(topic: string, wake: (state?: UpscaleTask) => void): Promise<Disposable> {
    const listening = new DisposableStack()
    listening.use(await super.listen(topic, wake))
    const { subscribed } = listening.adopt(this.#join(topic), (channel) => this.#leave(topic, channel))
    const timeout = new AbortController()
    const late = pause(SUBSCRIBE_TIMEOUT_MS, true, { signal: timeout.signal }).catch(() => false)
    const isLate = await Promise.race([subscribed.then(() => false), late])
    timeout.abort()
    // Hints may have been missed until then.
    if (isLate) void subscribed.then(() => listening.disposed || wake())
    return listening
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#subscriber[Symbol.dispose]()
    this.#publisher[Symbol.dispose]()
    return Promise.resolve()
  }

  #join(topic: string): Channel {
    const channel = this.#channels.get(topic) ?? {
      listeners: 0,
      subscribed: this.#subscriber.subscribe(PREFIX + topic).catch(IS_REPORTED),
    }
    channel.listeners += 1
    this.#channels.set(topic, channel)
    return channel
  }

  #leave(topic: string, channel: Channel): void {
    channel.listeners -= 1
    if (channel.listeners > 0) return
    this.#channels.delete(topic)
    this.#subscriber.unsubscribe(PREFIX + topic).catch(IS_REPORTED)
  }

  /** After a reconnect: hints may have been missed until the subscriptions are confirmed. */
  #resubscribe(): void {
    const names = [...this.#channels.keys()].map((topic) => PREFIX + topic)
    if (names.length === 0) return
    this.#subscriber.subscribe(...names).then(() => this.announceAll(), IS_REPORTED)
  }
}
