import { Writable } from 'node:stream'
import type { TypedDocumentNode } from '@graphql-typed-document-node/core'
import { print } from 'graphql'
import { createClient, type Client } from 'graphql-ws'
import pino from 'pino'
import { WebSocket } from 'ws'
import { parseSettings } from '../../src/settings.ts'
import { startService, type Overrides } from '../../src/service.ts'
import { openTestDatabase } from './database.ts'

export type Transport = 'HTTP' | 'WebSocket'
export const TRANSPORTS: readonly Transport[] = ['HTTP', 'WebSocket']

/** `TEST_FAST_PATH=off` runs the tests without the fast path. */
const FAST = process.env.TEST_FAST_PATH !== 'off'

export interface ErrorExtensions {
  readonly code: string
  readonly field?: string
  readonly [key: string]: unknown
}

/** What a client is given: data, and errors with our extensions. */
export interface Result<Data> {
  readonly data?: Data | null
  readonly errors?: readonly {
    message: string
    path?: readonly (string | number)[]
    extensions: ErrorExtensions
  }[]
}

/** The real service on a free port, with a client for each transport. */
export interface Gateway extends AsyncDisposable {
  readonly url: string
  readonly callbackUrl: string
  /** Null: metrics are not served. */
  readonly metricsUrl: string | null
  /** Everything logged so far, as text. */
  readonly log: () => string
  readonly socket: Client
  /** Takes the tables away from under the running service, as a restored or emptied database would. */
  breakStore(): Promise<void>
  /** Runs a query or a mutation to its end. */
  run<Data, Variables extends Record<string, unknown>>(
    transport: Transport,
    document: TypedDocumentNode<Data, Variables> | string,
    variables?: Variables,
  ): Promise<Result<Data>>
  /** Follows a subscription; ends when it completes. */
  follow<Data, Variables extends Record<string, unknown>>(
    document: TypedDocumentNode<Data, Variables>,
    variables: Variables,
  ): AsyncIterableIterator<Result<Data>>
}

/** Starts the service with these settings over the ones a test wants. */
export async function startGateway(
  environment: Record<string, string> = {},
  overrides: Overrides = {},
): Promise<Gateway> {
  await using opened = new AsyncDisposableStack()
  const database = opened.use(await openTestDatabase())
  const settings = parseSettings({
    PORT: '0',
    DATABASE_URL: database.url,
    LOG_LEVEL: 'debug',
    UPSTREAM_RATE_LIMIT: '0',
    // Most results of the tests do not exist.
    RESULT_INSPECT_MS: '0',
    RESULT_STORE: 'off',
    OWNER_RATE_LIMIT: '0',
    ...environment,
  })
  let logged = ''
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      logged += chunk.toString()
      done()
    },
  })
  const log = pino({ level: settings.logLevel }, sink)
  const service = opened.use(
    await startService(settings, log, { sandboxCompleteAfterMs: 20, fast: FAST, ...overrides }),
  )
  const socket = createClient({
    url: `${service.url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    lazy: true,
    retryAttempts: 0,
  })
  opened.defer(() => socket.dispose())
  const { url, callbackUrl, metricsUrl } = service
  const rest = opened.move()
  return {
    url,
    callbackUrl,
    metricsUrl,
    log: () => logged,
    socket,
    breakStore: () => database.breakTables(),
    run: (transport, document, variables) => {
      const query = typeof document === 'string' ? document : print(document)
      const request = { query, ...(variables && { variables }) }
      return transport === 'HTTP' ? post(url, request) : runOnSocket(socket, request)
    },
    follow: (document, variables) =>
      socket.iterate({ query: print(document), variables }) as AsyncIterableIterator<never>,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

async function post<Data>(url: string, body: unknown): Promise<Result<Data>> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return (await response.json()) as Result<Data>
}

/** One result, or the errors that the operation ended with. */
async function runOnSocket<Data>(
  socket: Client,
  request: { query: string; variables?: Record<string, unknown> },
): Promise<Result<Data>> {
  try {
    for await (const result of socket.iterate<unknown>(request)) return result as Result<Data>
  } catch (errors) {
    if (Array.isArray(errors)) return { errors: errors as NonNullable<Result<Data>['errors']> }
    throw errors
  }
  throw new Error('The operation completed without a result')
}

/** Collects a stream to its end. */
export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const each of stream) all.push(each)
  return all
}
