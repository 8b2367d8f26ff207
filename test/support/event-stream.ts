/** An event of a `text/event-stream`, as its reader gets it. */
export interface StreamedEvent<Payload = unknown> {
  readonly event: string
  readonly id?: string
  readonly data?: Payload
}

export interface EventStreamRequest {
  readonly query: string
  readonly variables?: Record<string, unknown>
  readonly method?: 'GET' | 'POST'
  readonly headers?: Record<string, string>
}

/** Sends an operation to `/graphql/stream` of a gateway and reads what comes back, event by event. */
export async function openEventStream<Payload = unknown>(
  gatewayUrl: string,
  { query, variables = {}, method = 'POST', headers = {} }: EventStreamRequest,
) {
  const gone = new AbortController()
  const url = new URL('/graphql/stream', gatewayUrl)
  if (method === 'GET')
    url.search = String(new URLSearchParams({ query, variables: JSON.stringify(variables) }))
  const response = await fetch(url, {
    method,
    headers: { accept: 'text/event-stream', 'content-type': 'application/json', ...headers },
    ...(method === 'POST' && { body: JSON.stringify({ query, variables }) }),
    signal: gone.signal,
  })
  const events = readEvents<Payload>(response)
  return {
    response,
    /** The next event; undefined when the stream has ended. */
    async next(): Promise<StreamedEvent<Payload> | undefined> {
      const next = await events.next()
      return next.done === true ? undefined : next.value
    },
    /** All events up to the end of the stream. */
    all: () => Array.fromAsync(events),
    [Symbol.dispose]: () => gone.abort(),
  }
}

async function* readEvents<Payload>(response: Response): AsyncGenerator<StreamedEvent<Payload>> {
  let text = ''
  for await (const chunk of response.body ?? []) {
    text += Buffer.from(chunk).toString()
    const blocks = text.split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const fields = Object.fromEntries(
        block
          .split('\n')
          .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
      )
      // A comment has no name.
      if (fields.event === undefined) continue
      yield {
        event: fields.event,
        ...(fields.id !== undefined && { id: fields.id }),
        ...(fields.data && { data: JSON.parse(fields.data) as Payload }),
      }
    }
  }
}
