import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A span as a collector receives it. Ids are hexadecimal. */
export interface ReceivedSpan {
  readonly name: string
  readonly kind: number
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[]
  readonly attributes: Readonly<Record<string, string | number>>
  /** 2: an error. */
  readonly statusCode: number
  readonly resource: Readonly<Record<string, string | number>>
}

/**
 * A collector of the OpenTelemetry Protocol over HTTP (Protobuf, https://opentelemetry.io/docs/specs/otlp/).
 */
export interface OtlpCollector extends AsyncDisposable {
  readonly url: string
  readonly spans: ReceivedSpan[]
  /** Resolves when the spans that have arrived satisfy the condition. */
  until(condition: (spans: readonly ReceivedSpan[]) => boolean): Promise<void>
}

export async function startOtlpCollector(): Promise<OtlpCollector> {
  const spans: ReceivedSpan[] = []
  const waiting = new Set<() => void>()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      if (request.url !== '/v1/traces') return void response.writeHead(404).end()
      spans.push(...readRequest(Buffer.concat(chunks)))
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end()
      for (const check of waiting) check()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    until: (condition) =>
      new Promise<void>((resolve) => {
        const check = () => {
          if (!condition(spans)) return
          waiting.delete(check)
          resolve()
        }
        waiting.add(check)
        check()
      }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** The fields of a Protobuf message by number: numbers, and bytes of texts and messages. */
type Message = Map<number, (Buffer | number)[]>

function decode(bytes: Buffer): Message {
  const fields: Message = new Map()
  let at = 0
  const readVarint = () => {
    let value = 0
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[at] ?? 0
      at += 1
      value += (byte & 127) * factor
      if (byte < 128) return value
    }
  }
  const readValue = (wireType: number) => {
    if (wireType === 0) return readVarint()
    const length = wireType === 1 ? 8 : wireType === 5 ? 4 : readVarint()
    at += length
    return bytes.subarray(at - length, at)
  }
  while (at < bytes.length) {
    const tag = readVarint()
    fields.set(tag >> 3, [...(fields.get(tag >> 3) ?? []), readValue(tag & 7)])
  }
  return fields
}

const toMessages = (message: Message, field: number) =>
  (message.get(field) ?? []).map((value) => decode(Buffer.from(value as Buffer)))
const toBytes = (message: Message, field: number) => Buffer.from((message.get(field)?.[0] ?? '') as Buffer)
const toNumber = (message: Message | undefined, field: number) => Number(message?.get(field)?.[0] ?? 0)

function toAttributes(message: Message, field: number): Record<string, string | number> {
  return Object.fromEntries(
    toMessages(message, field).map((pair) => {
      const [value = new Map() as Message] = toMessages(pair, 2)
      return [toBytes(pair, 1).toString(), value.has(1) ? toBytes(value, 1).toString() : toNumber(value, 3)]
    }),
  )
}

function readRequest(bytes: Buffer): ReceivedSpan[] {
  return toMessages(decode(bytes), 1).flatMap((ofResource) => {
    const [resource = new Map() as Message] = toMessages(ofResource, 1)
    return toMessages(ofResource, 2).flatMap((ofScope) =>
      toMessages(ofScope, 2).map((span) => ({
        name: toBytes(span, 5).toString(),
        kind: toNumber(span, 6),
        traceId: toBytes(span, 1).toString('hex'),
        spanId: toBytes(span, 2).toString('hex'),
        parentSpanId: toBytes(span, 4).toString('hex'),
        links: toMessages(span, 13).map((link) => ({
          traceId: toBytes(link, 1).toString('hex'),
          spanId: toBytes(link, 2).toString('hex'),
        })),
        attributes: toAttributes(span, 9),
        statusCode: toNumber(toMessages(span, 15)[0], 3),
        resource: toAttributes(resource, 1),
      })),
    )
  })
}
