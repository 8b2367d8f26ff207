import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { Log } from '../tasks/ports.ts'
import type { UpscaleTask } from '../tasks/task.ts'
import { LocalHints, type SharedHints } from './local-hints.ts'
import { ignoreReported, openRedisClient } from './redis-client.ts'

interface RedisHintsOptions {
  readonly url: string
  readonly log: Log
  /**
   * Called with the age of each hint of another replica in milliseconds: the difference of both machines'
   * clocks.
   */
  readonly onHint?: (lagMs: number) => void
  /** How often the hints send themselves a heartbeat; default 2 s. */
  readonly heartbeatMs?: number
}

const PREFIX = 'upscale:task:'
/** How long a listener waits for its subscription; until it is confirmed, the watcher re-reads its task. */
const SUBSCRIBE_TIMEOUT_MS = 1_000
const HEARTBEAT_MS = 2_000
/** After this many missing heartbeats no hints arrive. */
const MAX_MISSED = 3

const DEAF =
  'hints of other replicas do not arrive over Redis: no own heartbeat has arrived. Watched tasks are read again every few ' +
  'seconds instead, and the connection is replaced'

/**
 * Hints over Redis (or Valkey) publish/subscribe, for many replicas, where not every replica can receive
 * every hint. Each topic has its own channel, and a replica subscribes to the topics that its clients watch.
 */
export async function openRedisHints(options: RedisHintsOptions): Promise<SharedHints> {
  const { url, log } = options
  const onFault = (reason: string) =>
    log.warn({}, `Redis: ${reason}. Hints between replicas are lost until this is fixed`)
  // RedisHints resubscribes itself: after that it wakes all listeners.
  const subscriber = await openRedisClient(url, { autoResubscribe: false }, onFault)
  // A hint that cannot be sent now is dropped: stale hints are useless.
  const publisher = await openRedisClient(url, { enableOfflineQueue: false }, onFault)
  return new RedisHints(subscriber, publisher, options)
}

/** A subscription that all listeners of a topic share. */
interface Channel {
  listeners: number
  readonly subscribed: Promise<unknown>
}

class RedisHints extends LocalHints implements SharedHints {
  readonly #self = randomUUID()
  readonly #log: Log
  readonly #beating: NodeJS.Timeout
  /** When the last own heartbeat arrived, on the monotonic clock. */
  #heardAt = performance.now()
  #isDeaf = false
  readonly #channels = new Map<string, Channel>()
  readonly #subscriber: Redis & Disposable
  readonly #publisher: Redis & Disposable

  constructor(
    subscriber: Redis & Disposable,
    publisher: Redis & Disposable,
    { log, onHint, heartbeatMs = HEARTBEAT_MS }: RedisHintsOptions,
  ) {
    super()
    this.#subscriber = subscriber
    this.#publisher = publisher
    this.#log = log
    this.#join(this.#self)
    this.#beating = setInterval(() => this.#beat(heartbeatMs), heartbeatMs)
    subscriber.on('message', (channel: string, message: string) => {
      const [sender, sentAt] = message.split(' ')
      if (channel === PREFIX + this.#self) this.#hear()
      if (sender === this.#self) return
      onHint?.(Date.now() - Number(sentAt))
      super.announce(channel.slice(PREFIX.length))
    })
    subscriber.on('ready', () => this.#resubscribe())
  }

  get isUp(): boolean {
    return this.#subscriber.status === 'ready' && !this.#isDeaf
  }

  /** Publishes a heartbeat to itself. If earlier ones have not arrived, watched tasks are re-read instead. */
  #beat(heartbeatMs: number): void {
    if (performance.now() - this.#heardAt > MAX_MISSED * heartbeatMs) {
      if (!this.#isDeaf) this.#log.warn({}, DEAF)
      // The subscriber connects again, and subscribes.
      if (this.#subscriber.status === 'ready') this.#subscriber.disconnect(true)
      this.#isDeaf = true
      this.announceAll()
    }
    this.#publisher.publish(PREFIX + this.#self, this.#self).catch(ignoreReported)
  }

  #hear(): void {
    this.#heardAt = performance.now()
    if (!this.#isDeaf) return
    this.#isDeaf = false
    this.#log.info({}, 'hints of other replicas arrive again')
    this.announceAll()
  }

  override announce(topic: string, state?: UpscaleTask): void {
    super.announce(topic, state)
    this.#publisher.publish(PREFIX + topic, `${this.#self} ${Date.now()}`).catch(ignoreReported)
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
    clearInterval(this.#beating)
    this.#subscriber[Symbol.dispose]()
    this.#publisher[Symbol.dispose]()
    return Promise.resolve()
  }

  #join(topic: string): Channel {
    const channel = this.#channels.get(topic) ?? {
      listeners: 0,
      subscribed: this.#subscriber.subscribe(PREFIX + topic).catch(ignoreReported),
    }
    channel.listeners += 1
    this.#channels.set(topic, channel)
    return channel
  }

  #leave(topic: string, channel: Channel): void {
    channel.listeners -= 1
    if (channel.listeners > 0) return
    this.#channels.delete(topic)
    this.#subscriber.unsubscribe(PREFIX + topic).catch(ignoreReported)
  }

  /** After a reconnect: hints may have been missed until the subscriptions are confirmed. */
  #resubscribe(): void {
    const names = [...this.#channels.keys()].map((topic) => PREFIX + topic)
    if (names.length === 0) return
    this.#subscriber.subscribe(...names).then(() => this.announceAll(), ignoreReported)
  }
}
