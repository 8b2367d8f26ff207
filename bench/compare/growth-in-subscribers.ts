import { alone, judge, note, type BenchRun } from './bench-run.ts'
import { writeCharts } from './charts.ts'
import { OWN } from './contenders.ts'
import { callbackToSubscriberMs, events, memoryPerSubscription, quantile } from './measures.ts'
import type { Series } from './plot.ts'
import { toTable } from './report.ts'

/**
 * Service and load each need a descriptor per socket, and some machines allow fewer than 20,000 per process.
 */
const SIZES = [1_000, 5_000, 19_500]

/** Memory per subscription, CPU per event and latency, by number of subscribers. */
export async function growInSubscribers(run: BenchRun): Promise<string> {
  const rows: number[][] = []
  for (const size of SIZES) {
    const { resident, heap } = await alone(run, OWN, (running) =>
      memoryPerSubscription(running, size - 200, 200),
    )
    const { cpuMicros } = await alone(run, OWN, (running) =>
      events(running, { subscribers: size, distinct: true }),
    )
    const times = await alone(run, OWN, (running) =>
      callbackToSubscriberMs(running, { warm: 250, count: 750, idle: size - 1_000 }),
    )
    rows.push([size, resident, heap, cpuMicros, quantile(times, 0.5), quantile(times, 0.99)])
    note(`growth: ${rows.at(-1)?.join(' ')}`)
  }
  const against = (name: string, column: number): Series => ({
    name,
    points: rows.map((row) => [row[0] ?? 0, row[column] ?? 0] as const),
  })
  const xTitle = 'subscribers, each of a task of its own'
  const charts = [
    { title: 'Callback → subscriber, ms', xTitle, series: [against('p50', 4), against('p99', 5)] },
    { title: 'CPU for one event, µs', xTitle, series: [against('µs per event', 3)] },
    {
      title: 'Memory per idle subscription, bytes',
      xTitle,
      series: [against('resident', 1), against('heap', 2)],
    },
  ]
  const heads = [
    'subscribers',
    'resident bytes per subscription',
    'heap bytes per subscription',
    'CPU µs per event',
    'latency p50 ms',
    'latency p99 ms',
  ]
  await writeCharts('subscribers', charts)
  const table = toTable(
    heads,
    rows.map(([size = 0, ...rest]) => [size.toLocaleString('en'), ...rest]),
  )
  const spread = (column: number) => {
    const values = rows.map((row) => row[column] ?? NaN)
    return judge(Math.max(...values) / Math.min(...values), 1.2)
  }
  return `${table}\n\nLargest ÷ smallest (bar: below 1.2): heap bytes ${spread(2)}, CPU for an event ${spread(3)}.`
}
