/**
 * Upscales the four pictures of a grid with one request, follows them with one stream and saves them: `npm
 * run demo -- --help`.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { format, parseArgs, styleText } from 'node:util'
import type { TypedDocumentNode } from '@graphql-typed-document-node/core'
import { print, type FormattedExecutionResult } from 'graphql'
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { FollowError, followTasks, toClientOptions } from '../client/src/index.ts'
import {
  ProgressFragmentDoc,
  ServiceDocument,
  UpscaleGridDocument,
  type ProgressFragment,
  type UpscaleImagesInput,
} from '../test/generated/operations.ts'
import { DEFAULT_URL, findGateway, toReason } from './demo-gateway.ts'
import { openProgressLines, type ProgressLines } from './demo-lines.ts'
import { toExtension, toFacts } from './demo-picture.ts'
import { SENDING, toFailed, toProgress } from './demo-states.ts'

const HELP = `Upscales the four pictures of a generation, follows them live and saves them.

  npm run demo -- [options]

  --task ID         the generation task whose pictures are enlarged (default: a new id each time); the
                    sandbox simulates sandbox-busy-2, sandbox-code-402, sandbox-callback-501 and more
  --index N         one of its four pictures, 0 to 3, instead of all; may be repeated
  --watermark TEXT  drawn into the pictures
  --force           pay again, even if the same pictures are running or done
  --url URL         the service to use (default: GATEWAY_URL or ${DEFAULT_URL}; if none is
                    ready there, the demo starts its own, in sandbox mode)
  --token JWT       the bearer token, if the service requires one (default: GATEWAY_TOKEN)
  --out DIR         where to save the pictures (default: the current folder)`

/** The `problem` of a task, or the message and extensions of a GraphQL error. The demo prints all fields. */
type Problem = Readonly<Record<string, unknown> & { code: string; message: string }>

/** The service refused the whole request. */
class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message)
  }
}

/** What became of a picture. */
type Outcome = { readonly task: ProgressFragment } | { readonly problem: Problem }

/** The fields of the fragment, as an inline fragment. */
const SELECTION = ProgressFragmentDoc.definitions
  .map((definition) =>
    'selectionSet' in definition ? `... on UpscaleTask ${print(definition.selectionSet)}` : '',
  )
  .join(' ')

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
  else if (error instanceof FollowError) sayProblem({ code: error.code, message: error.message })
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
  const { indices, watermark: waterMark, force, out } = options
  say(`Upscaling ${indices.length === 1 ? 'a picture' : 'pictures'} of ${styleText('bold', taskId)}`)
  const outcomes = await upscale(url, { taskId, imageIndices: indices, waterMark, force })
  const images = await saveAll(outcomes, taskId, out)
  if (images > 0 && gateway.isOwn) sayAside('Links end now, with the service of the demo.')
  if (images < indices.length) process.exitCode = 1
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      task: { type: 'string' },
      index: { type: 'string', multiple: true, default: ['0', '1', '2', '3'] },
      watermark: { type: 'string' },
      force: { type: 'boolean', default: false },
      url: { type: 'string' },
      token: { type: 'string' },
      out: { type: 'string', default: '.' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  })
  if (!values.index.every((index) => /^\d+$/.test(index))) throw new Error('--index must be a whole number.')
  return { ...values, indices: values.index.map(Number), token: values.token ?? process.env.GATEWAY_TOKEN }
}

/**
 * Upscales pictures with one request and one stream, and shows a line for each. Returns their outcomes in
 * order.
 */
async function upscale(url: string, input: UpscaleImagesInput): Promise<Outcome[]> {
  const labels = (input.imageIndices ?? []).map((index) => `picture ${index}`)
  using lines = openProgressLines(labels, SENDING)
  const { upscaleImages } = await ask(url, UpscaleGridDocument, { input })
  const results = upscaleImages?.results ?? []
  if (results.some(({ replayed }) => replayed))
    lines.note('Nothing was sent for pictures that have a task already (see --force).')
  const outcomes = results.map(({ task, problem }): Outcome => {
    if (problem) return { problem }
    if (task) return { task }
    throw new Error('The service answered with neither a task nor a problem.')
  })
  for (const [line, outcome] of outcomes.entries()) show(lines, line, outcome)
  await follow(url, outcomes, lines)
  return outcomes
}

function show(lines: ProgressLines, line: number, outcome: Outcome): void {
  lines.show(line, 'task' in outcome ? toProgress(outcome.task) : toFailed(outcome.problem))
}

/** Follows the tasks with one stream until all have settled. Replaces their outcomes by the newest states. */
async function follow(url: string, outcomes: Outcome[], lines: ProgressLines): Promise<void> {
  const lineOf = new Map<string, number>()
  for (const [line, outcome] of outcomes.entries()) if ('task' in outcome) lineOf.set(outcome.task.id, line)
  const update = (id: string, outcome: Outcome) => {
    const line = lineOf.get(id)
    if (line === undefined) return
    outcomes[line] = outcome
    show(lines, line, outcome)
  }
  const client = openClient(url, (sentence) => lines.note(sentence))
  const states = followTasks<ProgressFragment>(client, {
    ids: [...lineOf.keys()],
    selection: SELECTION,
    signal: interrupted.signal,
    onError: (id, { code, message }) => update(id, { problem: { code, message } }),
  })
  try {
    for await (const task of states) update(task.id, { task })
  } catch (error) {
    throw error instanceof FollowError ? error : new Error(`The stream broke off: ${toReason(error)}`)
  } finally {
    await client.dispose()
  }
  interrupted.signal.throwIfAborted()
}

function openClient(url: string, note: (sentence: string) => void) {
  const options = toClientOptions({
    url: `${url.replace(/^http/, 'ws')}/graphql`,
    getAuthorization: () => authorization.authorization,
  })
  const connecting = (isRetry: boolean) => isRetry && note('The connection was lost; connecting again …')
  return createClient({
    ...options,
    webSocketImpl: WebSocket,
    retryAttempts: 3,
    on: { ...options.on, connecting },
  })
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

/** @throws Refused for the first error. */
function toData<Data>({ data, errors: [error] = [] }: FormattedExecutionResult<Data>): Data {
  if (error) throw new Refused({ code: 'ERROR', ...error.extensions, message: error.message })
  if (data == null) throw new Error('The service answered with neither data nor errors.')
  return data
}

/**
 * Saves the pictures and prints their facts, and each different problem. Returns how many pictures were
 * saved.
 */
async function saveAll(outcomes: readonly Outcome[], taskId: string, folder: string): Promise<number> {
  const problems = new Map<string, Problem>()
  let saved = 0
  for (const outcome of outcomes) {
    const problem = 'task' in outcome ? outcome.task.problem : outcome.problem
    if (problem) problems.set(problem.code, problem)
    if (!('task' in outcome)) continue
    for (const image of outcome.task.images ?? []) {
      const name = `${taskId}-${outcome.task.imageIndex}.${toExtension(image)}`
      const file = await save(await download(image.url), folder, name)
      saved += 1
      const { Size = '', File = '', Link = '', ...more } = toFacts(image)
      if (outcomes.length === 1) sayFacts({ Saved: styleText('bold', file), Size, File, Link, ...more })
      else sayFacts({ Saved: styleText('bold', file), Size, File, Link })
    }
  }
  for (const problem of problems.values()) sayProblem(problem)
  return saved
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

function sayFacts(facts: Readonly<Record<string, string>>): void {
  say('')
  for (const [name, fact] of Object.entries(facts)) say(`${name.padEnd(10)} ${fact}`)
}

function sayProblem({ code, message, ...facts }: Problem): void {
  say(`\n${styleText('red', code)}  ${message}`)
  for (const [name, value] of Object.entries(facts))
    if (value !== null) say(format('  %s %s', name.padEnd(14), value))
}
