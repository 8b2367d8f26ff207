import { alone, judge, note, type BenchRun } from './bench-run.ts'
import type { Running } from './contender.ts'
import { OWN } from './contenders.ts'
import {
  callbacksPerSecond,
  callbackToSubscriberMs,
  events,
  median,
  mutationsPerSecond,
  ownShareMs,
  quantile,
} from './measures.ts'
import { toTable } from './report.ts'

export const SETTLED = 100_000

/** The same figures with an empty store and a full one, in turn. */
export async function growInTasks(bench: BenchRun): Promise<string> {
  const measures: Record<string, (running: Running) => Promise<number>> = {
    'callbacks settled/s': callbacksPerSecond,
    'CPU µs per event': async (running) =>
      (await events(running, { subscribers: 5_000, distinct: true })).cpuMicros,
    'mutations/s': (running) => mutationsPerSecond(running, bench.upstream),
    'own share p50 ms': async (running) => quantile(await ownShareMs(running, bench.upstream), 0.5),
    'latency p50 ms': async (running) => quantile(await callbackToSubscriberMs(running), 0.5),
  }
  const rows: (string | number)[][] = []
  for (const [name, measure] of Object.entries(measures)) {
    const found: Record<number, number[]> = { 0: [], [SETTLED]: [] }
    for (let run = 0; run < bench.runs; run += 1)
      for (const settled of [0, SETTLED]) {
        const value = await alone(bench, OWN, async (running) => {
          for (let made = 0; made < settled; made += 10_000) await running.tasks(10_000, true)
          return await measure(running)
        })
        found[settled]?.push(value)
        note(`${name} with ${settled} settled tasks: ${value}`)
      }
    const [empty, full] = [median(found[0] ?? []), median(found[SETTLED] ?? [])]
    // How many times as bad it is with the full one.
    const worse = name.endsWith('/s') ? empty / full : full / empty
    rows.push([name, empty, full, judge(worse, 1.1)])
  }
  return toTable(['', 'empty', 'full', 'times as bad (bar: below 1.1)'], rows)
}
