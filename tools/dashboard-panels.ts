/**
 * The rows and panels of the Grafana dashboard. Gauges about the database have the same value on each
 * replica: `max`. All others are per replica: `sum`. `ONE` selects one installation, `REPLICAS` those of its
 * replicas that are chosen.
 */

/** A query, and the name of its lines; `{{label}}` stands for the value of a label. */
type Query = readonly [legend: string, expression: string]

export interface Panel {
  readonly title: string
  readonly description?: string
  /**
   * stat: the last value in large type; lines and areas (stacked): over time; table: the last values with
   * their labels.
   */
  readonly kind: 'stat' | 'lines' | 'areas' | 'table'
  /** Grafana's name of a unit. */
  readonly unit: 's' | 'short' | 'ops' | 'percentunit' | 'bytes'
  /** In columns of 24. */
  readonly width: number
  /** A stat turns green (from `minimum`) or red (below it). */
  readonly minimum?: number
  readonly queries: readonly Query[]
}

interface Row {
  readonly title: string
  readonly panels: readonly Panel[]
}

const ONE = 'job="$job"'
const REPLICAS = 'job="$job",instance=~"$instance"'

const rate = (by: string, metric: string, labels = '') =>
  `sum by (${by}) (rate(${metric}{${REPLICAS}${labels}}[$__rate_interval]))`

const quantiles = (metric: string, labels = ''): Query[] =>
  [0.5, 0.95, 0.99].map((quantile) => [
    `p${quantile * 100}`,
    `histogram_quantile(${quantile}, ${rate('le', `${metric}_bucket`, labels)})`,
  ])

/** The share of good events in the last 6 hours, by the recording rules of alerts.yaml. */
const level = (title: string, slo: string, minimum: number): Panel => ({
  title,
  kind: 'stat',
  unit: 'percentunit',
  width: 4,
  minimum,
  queries: [['', `1 - job:upscale_slo_bad:ratio6h{${ONE},slo="${slo}"}`]],
})

const areas = (title: string, legend: string, expression: string): Panel => ({
  title,
  kind: 'areas',
  unit: 'ops',
  width: 8,
  queries: [[legend, expression]],
})

const lines = (title: string, unit: Panel['unit'], queries: readonly Query[]): Panel => ({
  title,
  kind: 'lines',
  unit,
  width: 8,
  queries,
})

export const ROWS: readonly Row[] = [
  {
    title: 'Service levels, last 6 hours',
    panels: [
      level('Submits without a fault of ours or of the upstream', 'submit', 0.99),
      level('Tasks settled within 5 minutes', 'settle', 0.95),
      level('Callbacks answered within a second', 'callback', 0.99),
      {
        title: 'Running tasks',
        kind: 'stat',
        unit: 'short',
        width: 4,
        queries: [['', `sum(max by (status) (upscale_tasks{${ONE},status=~"SUBMITTED|PROCESSING"}))`]],
      },
      {
        title: 'Tasks in the queue',
        kind: 'stat',
        unit: 'short',
        width: 4,
        queries: [['', `max(upscale_queue_tasks{${ONE}})`]],
      },
      {
        title: 'Replicas that answer',
        kind: 'stat',
        unit: 'short',
        width: 4,
        queries: [['', `sum(up{${ONE}})`]],
      },
      {
        ...lines('Burn rate of the error budgets', 'short', [
          ['{{slo}}', `job:upscale_slo_bad:ratio1h{${ONE},slo=~"submit|callback"} / 0.01`],
          ['{{slo}}', `job:upscale_slo_bad:ratio1h{${ONE},slo="settle"} / 0.05`],
        ]),
        description: 'Over an hour. At 1 the budget of a month lasts a month; from 14.4 an alert fires.',
        width: 12,
      },
      {
        ...lines('Alerts that fire', 'short', [
          [
            '{{alertname}}',
            `sum by (alertname) (ALERTS{alertname=~"Upscale.*",alertstate="firing",job=~"$job|"})`,
          ],
        ]),
        width: 12,
      },
    ],
  },
  {
    title: 'Tasks',
    panels: [
      areas('Submits by outcome', '{{outcome}}', rate('outcome', 'upscale_submit_seconds_count')),
      lines('Time of a submit', 's', quantiles('upscale_submit_seconds')),
      areas('Refusals by limit', '{{limit}}', rate('limit', 'upscale_refusals_total')),
      areas(
        'Settled tasks by what brought the result',
        '{{status}} by {{source}}',
        rate('status, source', 'upscale_settle_seconds_count'),
      ),
      lines(
        'Time from submit to settled',
        's',
        quantiles('upscale_settle_seconds', ',source!~"owner|submit"'),
      ),
      {
        ...areas(
          'Running tasks by status',
          '{{status}}',
          `max by (status) (upscale_tasks{${ONE},status=~"SUBMITTED|PROCESSING"})`,
        ),
        unit: 'short',
      },
    ],
  },
  {
    title: 'Upstream',
    panels: [
      areas(
        'Paid requests by engine and code',
        '{{engine}} {{code}}',
        rate('engine, code', 'upscale_upstream_seconds_count', ',engine=~"$engine",operation="submit"'),
      ),
      lines('Time of requests to the upstream, p95', 's', [
        [
          '{{engine}} {{operation}}',
          `histogram_quantile(0.95, ${rate('engine, operation, le', 'upscale_upstream_seconds_bucket', ',engine=~"$engine"')})`,
        ],
      ]),
      lines('Replicas with an open circuit', 'short', [
        [
          '{{engine}}',
          `sum by (engine) (upscale_engine_circuit{${REPLICAS},engine=~"$engine",state="open"})`,
        ],
      ]),
      areas('Callbacks by HTTP status', '{{status}}', rate('status', 'upscale_callback_seconds_count')),
      lines('Handling time of callbacks', 's', quantiles('upscale_callback_seconds')),
      lines('Time since the last accepted callback', 's', [
        ['all replicas', `clamp_min(time() - max(upscale_last_callback_timestamp_seconds{${ONE}}), 0)`],
      ]),
    ],
  },
  {
    title: 'Background work',
    panels: [
      lines('Backlogs', 'short', [
        ['tasks in the queue', `max(upscale_queue_tasks{${ONE}})`],
        ['overdue polls', `max(upscale_polls_overdue{${ONE}})`],
        ['pending deliveries', `max(upscale_deliveries_pending{${ONE}})`],
      ]),
      lines('Age of the oldest', 's', [
        ['task in the queue', `max(upscale_queue_oldest_seconds{${ONE}})`],
        ['overdue poll', `max(upscale_poll_overdue_seconds{${ONE}})`],
        ['overdue delivery', `max(upscale_delivery_overdue_seconds{${ONE}})`],
      ]),
      {
        ...areas(
          'Attempts to deliver and to copy, by outcome',
          'delivery {{outcome}}',
          rate('outcome', 'upscale_deliveries_total'),
        ),
        queries: [
          ['delivery {{outcome}}', rate('outcome', 'upscale_deliveries_total')],
          ['picture {{outcome}}', rate('outcome', 'upscale_results_total')],
        ],
      },
    ],
  },
  {
    title: 'Clients',
    panels: [
      areas(
        'GraphQL operations by type and code',
        '{{type}} {{code}}',
        rate('type, code', 'upscale_operations_seconds_count'),
      ),
      lines('Time of GraphQL operations, p99', 's', [
        [
          '{{type}}',
          `histogram_quantile(0.99, ${rate('type, le', 'upscale_operations_seconds_bucket', ',type!="subscription"')})`,
        ],
      ]),
      areas('Refused tokens by reason', '{{reason}}', rate('reason', 'upscale_auth_refusals_total')),
      {
        ...areas(
          'Open streams by transport',
          '{{transport}}',
          `sum by (transport) (upscale_streams_open{${REPLICAS}})`,
        ),
        unit: 'short',
      },
      areas('Ended streams by reason', '{{reason}}', rate('reason', 'upscale_streams_ended_total')),
      lines('Age of hints of other replicas', 's', quantiles('upscale_hint_lag_seconds')),
    ],
  },
  {
    title: 'Replicas',
    panels: [
      lines('CPU cores', 'short', [
        ['{{instance}}', `rate(process_cpu_seconds_total{${REPLICAS}}[$__rate_interval])`],
      ]),
      lines('Resident memory', 'bytes', [['{{instance}}', `process_resident_memory_bytes{${REPLICAS}}`]]),
      lines('Delay of the event loop, p99', 's', [
        ['{{instance}}', `nodejs_eventloop_lag_p99_seconds{${REPLICAS}}`],
      ]),
      lines('Connections to the database', 'short', [
        ['{{state}}', `sum by (state) (upscale_database_connections{${REPLICAS}})`],
      ]),
      lines('Metrics that could not be read, and deaf listeners', 'short', [
        ['{{metric}}', `sum by (metric) (increase(upscale_collect_failures_total{${REPLICAS}}[5m]))`],
        ['deaf replicas', `sum(1 - upscale_hint_listener_up{${REPLICAS}})`],
      ]),
      {
        title: 'Versions',
        kind: 'table',
        unit: 'short',
        width: 8,
        queries: [['', `count by (version, node) (upscale_build_info{${ONE}})`]],
      },
    ],
  },
]
