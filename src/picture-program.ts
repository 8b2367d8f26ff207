/**
 * The program of the picture process: it downloads, measures and shrinks pictures for the service. See
 * results/picture-process.ts.
 */
import { readdirSync } from 'node:fs'
import { setPriority } from 'node:os'
import { openConnector } from './net/outbound.ts'
import { createDecoder } from './results/decode.ts'
import type {
  DownloadOrder,
  LogLine,
  Order,
  PictureSettings,
  Reply,
  ShrinkOrder,
} from './results/picture-messages.ts'
import { openPictureSource } from './results/picture-source.ts'
import { systemClock } from './system.ts'
import type { Log } from './tasks/ports.ts'

/** An unused process only takes memory. */
const IDLE_MS = 60_000
/** A picture whose decoding needs more is refused. */
const MAX_MEMORY_BYTES = 512 * 1024 * 1024
const REPLY_MS = 20
/** Below the service, so that pictures delay neither callbacks nor events. */
const NICENESS = 10

const send = (message: Reply | LogLine) => process.send?.(message)
const relay = (level: LogLine['level']) => (facts: object, sentence: string) => {
  // JSON of an error is empty.
  const entries = Object.entries(facts).map(([key, fact]: [string, unknown]) => [
    key,
    fact instanceof Error ? (fact.stack ?? String(fact)) : fact,
  ])
  send({ kind: 'log', level, facts: Object.fromEntries(entries) as object, sentence })
}
const log: Log = { info: relay('info'), warn: relay('warn'), error: relay('error') }

function open({ proxies, nameServers, folder }: PictureSettings) {
  const decoder = createDecoder(log, {
    maxBytes: MAX_MEMORY_BYTES,
    readBytes: () => process.memoryUsage.rss(),
    // The reply leaves first. The service repeats the other orders in a new process.
    onExceeded: () => setTimeout(() => process.exit(0), REPLY_MS),
  })
  let allowedHosts: readonly string[] = []
  const source = openPictureSource({
    connector: openConnector(proxies, { servers: nameServers }),
    decoder,
    allowedHosts: () => allowedHosts,
    folder,
    clock: systemClock,
    log,
  })
  return {
    async download({ id, url, ...order }: DownloadOrder, signal: AbortSignal): Promise<Reply> {
      allowedHosts = order.allowedHosts
      const result = await source.download(url, signal)
      if (result.kind === 'unusable') return { ...result, id }
      const { path, facts } = result
      return { id, kind: 'picture', path, facts }
    },
    async shrink({ id, path, to, width }: ShrinkOrder): Promise<Reply> {
      return { id, kind: 'shrunk', byteSize: await decoder.shrink(path, to, width) }
    },
  }
}

/** Called after startup, which takes half a second of CPU: at low priority it delays the first picture. */
function lowerPriority(): void {
  try {
    // On Linux each thread has a priority of its own, which the threads that it starts later inherit.
    const threads = process.platform === 'linux' ? readdirSync('/proc/self/task') : [process.pid]
    for (const thread of threads) setPriority(Number(thread), NICENESS)
  } catch (error) {
    log.warn({ err: error }, 'the priority of the picture process could not be lowered')
  }
}

const running = new Map<number, AbortController>()
let worker: ReturnType<typeof open> | undefined
const stopWhenIdle = () => setTimeout(() => process.exit(0), IDLE_MS)
let idle = stopWhenIdle()

async function carryOut(order: DownloadOrder | ShrinkOrder): Promise<void> {
  const { id } = order
  const abort = new AbortController()
  running.set(id, abort)
  clearTimeout(idle)
  try {
    if (worker === undefined) throw new Error('The settings have not arrived')
    send(await (order.kind === 'download' ? worker.download(order, abort.signal) : worker.shrink(order)))
  } catch (error) {
    send({ id, kind: 'failed', cause: String(error) })
  }
  running.delete(id)
  if (running.size === 0) idle = stopWhenIdle()
}

process.on('message', (order: Order) => {
  if (order.kind === 'open') {
    lowerPriority()
    worker = open(order)
  } else if (order.kind === 'abort') running.get(order.id)?.abort(new Error('aborted'))
  else void carryOut(order)
})
// The service has ended, in whatever way.
process.on('disconnect', () => process.exit(0))
