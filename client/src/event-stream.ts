import type { Limit } from './deadline.ts'
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

/**
 * The results in a stream of server-sent events. The server ends the response after the event `complete`,
 * which has no data.
 */
export async function* readEvents<Result>(
  body: ReadableStream<Uint8Array>,
  limit: Limit,
): AsyncGenerator<Result, void> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (;;) {
    const { done, value } = await limit(reader.read())
    if (done) return
    const events = (text + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/)
    text = events.pop() ?? ''
    for (const event of events) {
      // Whitespace between its lines does not change JSON.
      const data = event.replace(/^data:|^(?!data:).*/gm, '').trim()
      if (data) yield JSON.parse(data) as Result
    }
  }
}

/**
 * The results of an EventSource. It does not reconnect by itself, because the next request needs the latest
 * version. Returns false if the server has refused the request: only `fetch` can read the reason.
 */
export async function* listen<Result>(
  EventSource: EventSourceConstructor,
  url: string,
  limit: Limit,
): AsyncGenerator<Result, boolean> {
  const events: SourceEvent[] = []
  let wake = (): void => undefined
  const take = (event: SourceEvent) => {
    events.push(event)
    wake()
  }
  const source = new EventSource(url)
  for (const type of ['next', 'complete', 'error']) source.addEventListener(type, take)
  try {
    for (;;) {
      if (events.length === 0) await limit(new Promise<void>((resolve) => (wake = resolve)))
      const { type, data } = events.shift() ?? {}
      if (type === 'next') yield JSON.parse(String(data)) as Result
      else if (type === 'complete' || source.readyState === CLOSED) return type === 'complete'
      else throw connectionFailed()
    }
  } finally {
    source.close()
  }
}
