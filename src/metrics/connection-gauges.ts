import { Gauge, type Registry } from 'prom-client'

/** What this process has open, read at each request of `/metrics`. */
export interface Connections {
  sockets(): { readonly open: number; readonly operations: number }
  /** Subscriptions that run on HTTP. */
  streams(): number
  /** Connections to the database; undefined where there is no pool. */
  pool(): Readonly<Record<'total' | 'idle' | 'waiting', number>> | undefined
  /** Whether hints of other replicas arrive; undefined for a single process. */
  hintsUp(): boolean | undefined
}

export function addConnectionGauges(
  registry: Registry,
  { sockets, streams, pool, hintsUp }: Connections,
): void {
  const add = (name: string, help: string, collect: (gauge: Gauge) => void, labelNames: string[] = []) => {
    const collectThis = function (this: Gauge) {
      collect(this)
    }
    registry.registerMetric(new Gauge({ name, help, labelNames, registers: [], collect: collectThis }))
  }
  add('upscale_sockets_open', 'Open WebSockets', (gauge) => gauge.set(sockets().open))
  add('upscale_subscriptions_open', 'Operations running on WebSockets', (gauge) =>
    gauge.set(sockets().operations),
  )
  add(
    'upscale_http_streams_open',
    'Subscriptions running on HTTP (server-sent events, router callbacks)',
    (gauge) => gauge.set(streams()),
  )
  add(
    'upscale_database_connections',
    'Connections to the database, and requests that wait for one',
    (gauge) => {
      for (const [state, count] of Object.entries(pool() ?? {})) gauge.set({ state }, count)
    },
    ['state'],
  )
  if (hintsUp() !== undefined)
    add('upscale_hint_listener_up', 'Whether hints of other replicas arrive: 1 or 0', (gauge) =>
      gauge.set(hintsUp() === true ? 1 : 0),
    )
}
