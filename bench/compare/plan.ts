/** What is measured of whom, and the bar for each. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Running } from './contender.ts'
import {
  memoryPerSubscription,
  callbacksPerSecond,
  callbackToSubscriberMs,
  events,
  mutationsPerSecond,
  ownShareMs,
  quantile,
} from './measures.ts'
import type { StubUpstream } from './upstream.ts'

export type PeerKey = 'a' | 'b' | 'c' | 'd' | 'ws' | 'http'
export type Figures = Readonly<Record<string, number>>

export interface Measure {
  readonly key: string
  readonly peers: readonly PeerKey[]
  /** Whether ours runs without the hooks of the bench, which would change the figures. */
  readonly asShipped?: boolean
  measure(running: Running, upstream: StubUpstream): Promise<Figures>
}

/** A figure of a measure, and how ours is to stand to the others'. */
export interface Bar {
  readonly figure: string
  readonly title: string
  readonly moreIsBetter: boolean
  /** Ours divided by (a)'s. */
  readonly byTheBook?: number
  /** Ours divided by the better of (b) and (c). */
  readonly best?: number
  readonly limit?: { readonly of: 'ws' | 'http'; readonly ratio: number }
  /** In the figure's own unit. */
  readonly absolute?: number
}

const toQuantiles = (name: string, times: readonly number[]): Figures => ({
  [`${name}P50`]: quantile(times, 0.5),
  [`${name}P99`]: quantile(times, 0.99),
})

export const MEASURES: readonly Measure[] = [
  {
    key: 'start',
    asShipped: true,
    peers: ['a', 'b', 'c', 'd'],
    async measure(running) {
      // V8 releases memory of the start only after a while.
      await pause(2_000)
      return { readyMs: running.readyAfterMs, restMb: (await running.memory()).resident / 2 ** 20 }
    },
  },
  {
    key: 'callbacks',
    peers: ['a', 'b', 'c', 'd', 'http'],
    measure: async (running) => ({ callbacks: await callbacksPerSecond(running) }),
  },
  {
    key: 'distinct',
    peers: ['a', 'b', 'c', 'd', 'ws'],
    async measure(running) {
      const { perSecond, cpuMicros } = await events(running, { subscribers: 5_000, distinct: true })
      return { distinct: perSecond, distinctCpu: cpuMicros }
    },
  },
  {
    key: 'one',
    peers: ['a', 'b', 'c', 'd', 'ws'],
    async measure(running) {
      const { perSecond, cpuMicros } = await events(running, { subscribers: 5_000, distinct: false })
      return { one: perSecond, oneCpu: cpuMicros }
    },
  },
  {
    key: 'memory',
    peers: ['a', 'b', 'c', 'd', 'ws'],
    measure: async (running) => ({
      memory: (await memoryPerSubscription(running, 10_000, 5_000)).resident,
    }),
  },
  {
    key: 'mutations',
    peers: ['a', 'b', 'c', 'd'],
    measure: async (running, upstream) => ({ mutations: await mutationsPerSecond(running, upstream) }),
  },
  {
    key: 'share',
    peers: ['a', 'b', 'c', 'd'],
    measure: async (running, upstream) => toQuantiles('share', await ownShareMs(running, upstream)),
  },
  {
    key: 'latency',
    peers: ['a', 'b', 'c', 'd'],
    measure: async (running) => toQuantiles('latency', await callbackToSubscriberMs(running)),
  },
]

export const BARS: readonly Bar[] = [
  {
    figure: 'callbacks',
    title: 'callbacks settled/s',
    moreIsBetter: true,
    byTheBook: 1.1,
    best: 0.8,
    limit: { of: 'http', ratio: 0.5 },
  },
  {
    figure: 'distinct',
    title: 'events/s, 5,000 distinct tasks',
    moreIsBetter: true,
    byTheBook: 2,
    best: 1.8,
    limit: { of: 'ws', ratio: 0.65 },
  },
  {
    figure: 'one',
    title: 'events/s, 5,000 on one task',
    moreIsBetter: true,
    byTheBook: 4,
    best: 2,
    limit: { of: 'ws', ratio: 0.85 },
  },
  {
    figure: 'memory',
    title: 'bytes per idle subscription, of 10,000',
    moreIsBetter: false,
    byTheBook: 0.5,
    best: 0.55,
    limit: { of: 'ws', ratio: 1.25 },
  },
  { figure: 'mutations', title: 'mutations/s', moreIsBetter: true, byTheBook: 1.2, best: 0.6 },
  { figure: 'latencyP50', title: 'callback → subscriber at 500/s, p50 ms', moreIsBetter: false, best: 1.3 },
  {
    figure: 'latencyP99',
    title: 'callback → subscriber at 500/s, p99 ms',
    moreIsBetter: false,
    byTheBook: 1,
    best: 1,
  },
  {
    figure: 'shareP50',
    title: 'own share of a mutation at 100/s, p50 ms',
    moreIsBetter: false,
    best: 1.5,
    absolute: 3,
  },
  {
    figure: 'shareP99',
    title: 'own share of a mutation at 100/s, p99 ms',
    moreIsBetter: false,
    absolute: 15,
  },
  { figure: 'readyMs', title: 'start to ready, ms', moreIsBetter: false, byTheBook: 1.2 },
  { figure: 'restMb', title: 'memory at rest, MB', moreIsBetter: false, byTheBook: 1.1 },
  { figure: 'distinctCpu', title: 'CPU µs per event, distinct tasks', moreIsBetter: false },
  { figure: 'oneCpu', title: 'CPU µs per event, one task', moreIsBetter: false },
]
