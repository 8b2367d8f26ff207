/**
 * Draws docs/images/dashboard.svg: starts three replicas under load (dashboard-load.ts) and a Prometheus that
 * scrapes them, and draws the panels of dashboard.json with its answers. The drawing is ours
 * (dashboard-svg.ts), not Grafana's. `TEST_DATABASE_URL=postgres://… npm run dashboard:picture [MINUTES]`;
 * needs `prometheus` and `npm run build`.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { openTempDir } from '../test/support/temp-dir.ts'
import { startLoad } from './dashboard-load.ts'
import { drawDashboard, type Panel, type Series } from './dashboard-svg.ts'

const FOLDER = 'deploy/observability'
const TARGET = 'docs/images/dashboard.svg'
const JOB = 'upscale-gateway'
const DEFAULT_MINUTES = 10
const SCRAPE_S = 2
const POINTS = 120

async function findPort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  return port
}

/** Prometheus with the rules of alerts.yaml. */
async function startPrometheus(urls: readonly string[], folder: string) {
  const config = {
    global: { scrape_interval: `${SCRAPE_S}s`, evaluation_interval: '5s' },
    rule_files: [resolve(FOLDER, 'alerts.yaml')],
    scrape_configs: [
      {
        job_name: JOB,
        static_configs: urls.map((url, index) => ({
          targets: [new URL(url).host],
          labels: { instance: `replica-${index + 1}` },
        })),
      },
    ],
  }
  // JSON is YAML.
  await writeFile(`${folder}/prometheus.yml`, JSON.stringify(config))
  const address = `127.0.0.1:${await findPort()}`
  const flags = [
    `--config.file=${folder}/prometheus.yml`,
    `--storage.tsdb.path=${folder}/data`,
    `--web.listen-address=${address}`,
    '--log.level=error',
  ]
  const child = spawn('prometheus', flags, { stdio: 'inherit' })
  const exited = once(child, 'exit')
  const isReady = () =>
    fetch(`http://${address}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    )
  while (!(await isReady())) await pause(100)
  return {
    url: `http://${address}`,
    async [Symbol.asyncDispose]() {
      child.kill()
      await exited
    },
  }
}

interface Answer {
  readonly error?: string
  readonly data?: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>
      readonly values: readonly (readonly [time: number, value: string])[]
    }[]
  }
}

/** The values of a target of a panel, as Grafana asks for them. */
async function query(
  url: string,
  target: NonNullable<Panel['targets']>[number],
  times: readonly number[],
): Promise<Series[]> {
  const variables = { $job: JOB, $instance: '.*', $engine: '.*', $__rate_interval: '30s' }
  const expression = Object.entries(variables).reduce(
    (text, [name, value]) => text.replaceAll(name, value),
    target.expr,
  )
  const [start, step] = [times[0] ?? 0, (times[1] ?? 0) - (times[0] ?? 0)]
  const parameters = {
    query: expression,
    start: String(start),
    end: String(times.at(-1)),
    step: String(step),
  }
  const response = await fetch(`${url}/api/v1/query_range?${new URLSearchParams(parameters).toString()}`)
  const { data, error } = (await response.json()) as Answer
  if (data === undefined) throw new Error(`${expression}: ${error ?? 'no answer'}`)
  return data.result.map(({ metric, values }) => {
    const byTime = new Map(values.map(([time, value]) => [time, Number(value)]))
    return {
      name: (target.legendFormat ?? '').replaceAll(
        /\{\{(\w+)\}\}/g,
        (_all, label: string) => metric[label] ?? '',
      ),
      labels: metric,
      values: times.map((time) => {
        const value = byTime.get(time)
        return value === undefined || !Number.isFinite(value) ? null : value
      }),
    }
  })
}

const minutes = Number(process.argv[2] ?? DEFAULT_MINUTES)
await using folder = await openTempDir()
await using load = await startLoad()
await using prometheus = await startPrometheus(load.urls, folder.path)
await load.run(minutes)

const step = Math.max(1, Math.floor((minutes * 60) / POINTS))
const end = Math.floor(Date.now() / 1_000)
const times = Array.from({ length: POINTS + 1 }, (_, index) => end - (POINTS - index) * step)
const { panels } = JSON.parse(await readFile(`${FOLDER}/dashboard.json`, 'utf8')) as {
  panels: readonly Panel[]
}
const drawn = await Promise.all(
  panels.map(async (panel) => ({
    panel,
    series: (
      await Promise.all((panel.targets ?? []).map((target) => query(prometheus.url, target, times)))
    ).flat(),
  })),
)
await writeFile(TARGET, drawDashboard(drawn, times, 'Upscale gateway'))
console.log(
  `${TARGET} is written. Panels without data: ${
    drawn
      .filter(({ panel, series }) => panel.type !== 'row' && series.length === 0)
      .map(({ panel }) => panel.title)
      .join(', ') || 'none'
  }`,
)
