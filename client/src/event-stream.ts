import { within } from './deadline.ts'
import { connectionFailed } from './errors.ts'

/** What is used of EventSource. */
export type EventSourceConstructor = new (url: string) => {
  readonly readyState: number
  addEventListener(type: string, listener: (event: SourceEvent) => void): void
  close(): void
}

interface SourceEvent {
  readonly type: string
  readonly data?: unknown
}

/** The server has refused the request. */
const CLOSED = 2

/** The results in a stream of server-sent events, up to the event `complete`. `wait` limits the time of each read. */
export async function* readEvents<Result>(
  body: ReadableStream<Uint8Array>,
  wait: <Value>(read: Promise<Value>) => Promise<Value>,
): AsyncGenerator<Result, void> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (;;) {
    const { done, value } = await wait(reader.read())
    if (done) return
    const events = (text + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/)
    text = events.pop() ?? ''
    for (const event of events) {
      if (/^event: ?complete/m.test(event)) return
      const data = [...event.matchAll(/^data: ?(.*)/gm)].map(([, line]) => line).join('\n')
      if (data) yield JSON.parse(data) as Result
    }
  }
}

/**
 * The results of an EventSource. It does not reconnect by itself, because the next request needs the latest version. Returns
 * false if the server has refused the request: only `fetch` can read the reason.
 */
export async function* listen<Result>(
  EventSource: EventSourceConstructor,
  url: string,
  { abort, silenceMs, onOpen }: Listening,
): AsyncGenerator<Result, boolean> {
  const events: SourceEvent[] = []
  let wake = (): void => undefined
  const take = (event: SourceEvent) => {
    events.push(event)
    wake()
  }
  const source = new EventSource(url)
  for (const type of ['open', 'next', 'complete', 'error']) source.addEventListener(type, take)
  abort.signal.addEventListener('abort', take)
  try {
    for (;;) {
      if (events.length === 0)
        await within(silenceMs, abort, new Promise<void>((resolve) => (wake = resolve)))
      const { type, data } = events.shift() ?? {}
      if (type === 'open') onOpen?.()
      else if (type === 'next') yield JSON.parse(String(data)) as Result
      else if (type === 'error' && source.readyState === CLOSED) return false
      else if (type === 'complete') return true
      else throw connectionFailed('The event source has lost its connection.', true)
    }
  } finally {
    source.close()
  }
}

interface Listening {
  readonly abort: AbortController
  readonly silenceMs: number
  readonly onOpen: (() => void) | undefined
}
