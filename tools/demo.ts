/** Submits one upscale over HTTP, follows it over WebSocket and saves the picture: `npm run demo -- --help`. */
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { format, parseArgs, styleText } from 'node:util'
import type { TypedDocumentNode } from '@graphql-typed-document-node/core'
import { print, type FormattedExecutionResult, type GraphQLFormattedError } from 'graphql'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import {
  FollowPicturesDocument,
  ServiceDocument,
  UpscaleImageDocument,
  type FollowPicturesSubscription,
  type TaskFragment,
  type UpscaleImageInput,
} from '../test/generated/operations.ts'
import { toExtension, toFacts } from './demo-picture.ts'

const DEFAULT_URL = 'http://127.0.0.1:4000'
const HELP = `Submits an upscale, follows it live and saves the picture.

  npm run demo -- [options]

  --task ID         the generation task whose picture is enlarged (default: a new id each time); the
                    sandbox simulates sandbox-code-402, sandbox-callback-501, sandbox-hang and more
  --index N         which of its four pictures: 0 to 3 (default: 0)
  --watermark TEXT  drawn into the picture
  --force           pay again, even if the same picture is running or done
  --url URL         the service to use (default: GATEWAY_URL or ${DEFAULT_URL}; if none is
                    ready there, the demo starts its own, in sandbox mode)
  --token JWT       the bearer token, if the service requires one (default: GATEWAY_TOKEN)
  --out DIR         where to save the picture (default: the current folder)`

const STATES = {
  SUBMITTED: ['yellow', 'stored; no answer from the upscale service so far'],
  PROCESSING: ['cyan', 'accepted; the upscale service is at work'],
  SUCCEEDED: ['green', 'the picture is ready'],
  FAILED: ['red', 'it did not work'],
} as const

/** The `problem` of a task, or the message and extensions of a GraphQL error. The demo prints all fields. */
type Problem = Readonly<Record<string, unknown> & { code: string; message: string }>

/** The service refused the request, or the upscale failed. */
class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message)
  }
}

/** The authorization header of every request; empty without a token. */
let authorization: { authorization?: string } = {}

const say = (line: string) => console.log(line)
const sayAside = (sentence: string) => say(`${' '.repeat(10)}${styleText('dim', sentence)}`)
const interrupted = new AbortController()
process.once('SIGINT', () => interrupted.abort())

try {
  await demonstrate()
} catch (error) {
  process.exitCode = 1
  if (interrupted.signal.aborted) say('\nInterrupted.')
  else if (error instanceof Refused) sayProblem(error.problem)
  else say(`\n${styleText('red', toReason(error))}`)
}

async function demonstrate(): Promise<void> {
  const options = readOptions()
  if (options.help) {
    say(HELP)
    return
  }
  if (options.token) authorization = { authorization: `Bearer ${options.token}` }
  await using gateway = await findGateway(options.url)
  const { url } = gateway
  const { upscaleService } = await ask(url, ServiceDocument, {})
  const sandbox = upscaleService?.mode === 'SANDBOX'
  if (!sandbox && options.task === undefined)
    throw new Error('This service is LIVE, and upscales cost credits: name the task with --task.')

  const taskId = options.task ?? `demo-${randomBytes(3).toString('hex')}`
  const { index: imageIndex, watermark: waterMark, force } = options
  say(`Upscaling picture ${imageIndex} of ${styleText('bold', taskId)}`)
  const sayState = createStatePrinter()
  const submitted = await submit(url, { taskId, imageIndex, waterMark, force })
  sayState(submitted)
  const settled = await follow(url, submitted.id, sayState)
  if (settled?.problem) throw new Refused(settled.problem)
  const [image] = settled?.images ?? []
  if (image === undefined) throw new Error('The stream ended without a result.')

  const name = `${taskId}-${imageIndex}.${toExtension(image)}`
  const file = await save(await download(image.url), options.out, name)
  sayPicture({ Saved: styleText('bold', file), ...toFacts(image) })
  if (gateway.isOwn) sayAside('The link ends now, with the service of the demo.')
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      task: { type: 'string' },
      index: { type: 'string', default: '0' },
      watermark: { type: 'string' },
      force: { type: 'boolean', default: false },
      url: { type: 'string' },
      token: { type: 'string' },
      out: { type: 'string', default: '.' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (!/^\d+$/.test(values.index)) throw new Error('--index must be a whole number.')
  return { ...values, index: Number(values.index), token: values.token ?? process.env.GATEWAY_TOKEN }
}

interface DemoGateway extends AsyncDisposable {
  readonly url: string
  /** Started by the demo, and ends with it. */
  readonly isOwn: boolean
}

/** The running service. If none is ready, and no URL was given, the demo starts its own. */
async function findGateway(named: string | undefined): Promise<DemoGateway> {
  const url = (named ?? process.env.GATEWAY_URL ?? DEFAULT_URL).replace(/\/+$/, '')
  const fault = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(3_000) }).then(
    ({ ok, status }) => (ok ? undefined : `it answers ${status} to /readyz`),
    toReason,
  )
  if (fault === undefined) {
    say(`Using the service at ${url}`)
    return { url, isOwn: false, [Symbol.asyncDispose]: () => Promise.resolve() }
  }
  if (named !== undefined) throw new Error(`The service at ${url} is not ready: ${fault}`)
  const own = await startGateway()
  say(`No service is ready at ${url}: the demo has started its own, in sandbox mode, at ${own.url}`)
  return own
}

/** A sandbox on a free port with a temporary database. It ignores the environment. */
async function startGateway(): Promise<DemoGateway> {
  // Loaded only here: the demo does not need them for a running service.
  const { parseSettings } = await import('../src/settings.ts')
  const { createLogger } = await import('../src/log.ts')
  const { startService } = await import('../src/service.ts')
  await using opened = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'upscale-demo-'))
  opened.defer(() => rm(folder, { recursive: true, force: true }))
  const settings = parseSettings({
    PORT: '0',
    DATABASE_URL: `file:${folder}/demo.db`,
    UPSTREAM_TIMEOUT_MS: '3000',
    RESULT_STORE: `file:${folder}/results`,
    LOG_LEVEL: 'error',
  })
  const { url } = opened.use(await startService(settings, createLogger(settings.logLevel, false)))
  const rest = opened.move()
  return { url, isOwn: true, [Symbol.asyncDispose]: () => rest.disposeAsync() }
}

async function submit(url: string, input: UpscaleImageInput): Promise<TaskFragment> {
  using _ = sayLater('waiting for the answer of the upscale service …')
  const { upscaleImage } = await ask(url, UpscaleImageDocument, { input })
  if (upscaleImage?.replayed) sayAside('nothing was sent: a task for this picture exists (see --force)')
  if (upscaleImage?.problem) throw new Refused(upscaleImage.problem)
  if (!upscaleImage?.task) throw new Error('The service answered with neither a task nor a problem.')
  return upscaleImage.task
}

/** Runs a query or a mutation over HTTP. */
async function ask<Data, Variables>(
  url: string,
  query: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): Promise<Data> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...authorization },
    body: JSON.stringify({ query: print(query), variables }),
    signal: interrupted.signal,
  })
  const result: unknown = await response.json().catch(() => {
    throw new Error(`${url}/graphql does not speak GraphQL: it answered ${response.status}.`)
  })
  return toData(result as FormattedExecutionResult<Data>)
}

/** Follows a task over WebSocket until the stream completes. Returns the last state. */
async function follow(url: string, id: string, sayState: (task: TaskFragment) => void) {
  const client = createClient({
    url: `${url.replace(/^http/, 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: authorization,
    // Also after a refused connection, for example while the service restarts.
    shouldRetry: () => true,
    retryAttempts: 3,
    on: { connecting: (isRetry) => isRetry && sayAside('the connection was lost; connecting again …') },
  })
  interrupted.signal.addEventListener('abort', () => void client.dispose())
  const operation = { query: print(FollowPicturesDocument), variables: { id } }
  let last: FollowPicturesSubscription['taskUpdated'] = null
  try {
    for await (const result of client.iterate(operation)) {
      last = toData(result as FormattedExecutionResult<FollowPicturesSubscription>).taskUpdated
      if (last) sayState(last)
    }
    return last
  } catch (error) {
    // A failed operation is a list of GraphQL errors, a lost socket its close event.
    if (Array.isArray(error)) toData({ errors: error as GraphQLFormattedError[] })
    throw error instanceof Refused ? error : new Error(`The stream broke off: ${toReason(error)}`)
  } finally {
    await client.dispose()
  }
}

/** @throws Refused for the first error. */
function toData<Data>({ data, errors: [error] = [] }: FormattedExecutionResult<Data>): Data {
  if (error) throw new Refused({ code: 'ERROR', ...error.extensions, message: error.message })
  if (data == null) throw new Error('The service answered with neither data nor errors.')
  return data
}

async function download(url: string): Promise<Buffer> {
  const response = await fetch(url, { signal: interrupted.signal })
  if (!response.ok) throw new Error(`The picture cannot be downloaded: ${url} answers ${response.status}.`)
  return Buffer.from(await response.arrayBuffer())
}

/** Writes a picture as it is. Returns the path of the file. */
async function save(picture: Buffer, folder: string, name: string): Promise<string> {
  const file = join(folder, name.replace(/[^\w.-]+/g, '_'))
  await mkdir(folder, { recursive: true })
  await writeFile(file, picture)
  return file
}

function sayPicture(facts: Readonly<Record<string, string>>): void {
  say('')
  for (const [name, fact] of Object.entries(facts)) say(`${name.padEnd(10)} ${fact}`)
}

/** Returns a function that prints each new state with the elapsed seconds, and a re-asserted state as "still". */
function createStatePrinter() {
  const startedAt = performance.now()
  let shown: TaskFragment | undefined
  let shownAt = 0
  return (task: TaskFragment) => {
    const elapsedMs = performance.now() - startedAt
    const known = shown?.version === task.version
    // The stream begins with the state that the mutation has just returned.
    if (known && elapsedMs - shownAt < 5_000) return
    const [colour, meaning] = STATES[task.status]
    const seconds = `${(elapsedMs / 1_000).toFixed(1)} s`.padStart(8)
    say(`${seconds}  ${styleText(colour, task.status.padEnd(10))}  ${known ? 'still ' : ''}${meaning}`)
    shown = task
    shownAt = elapsedMs
  }
}

function sayProblem({ code, message, ...facts }: Problem): void {
  say(`\n${styleText('red', code)}  ${message}`)
  for (const [name, value] of Object.entries(facts))
    if (value !== null) say(format('  %s %s', name.padEnd(14), value))
}

/** Prints the sentence after 2 s, unless disposed before. */
function sayLater(sentence: string): Disposable {
  const timer = setTimeout(() => sayAside(sentence), 2_000)
  return { [Symbol.dispose]: () => clearTimeout(timer) }
}

/** The reason of a failure as text. A socket has it in its close event, `fetch` in the cause of its error. */
function toReason(error: unknown): string {
  if (error instanceof Error && error.cause instanceof Error) return toReason(error.cause)
  const { message, code, reason } = error as { message?: string; code?: number; reason?: string }
  return message ?? `the connection was closed with ${code} ${reason}`.trim()
}
