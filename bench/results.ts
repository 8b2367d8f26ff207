/**
 * What inspections and copies of results cost: `npm run bench:results [-- FOLDER]`. The latency of callbacks
 * with and without them, and in another checkout that is built; then memory and the latency of events while
 * 50 pictures of 10 MiB settle at once.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { Pool } from 'undici'
import { pinLoad, start, type Running, type WaitingTask } from './compare/contender.ts'
import { OWN } from './compare/contenders.ts'
import { quantile } from './compare/measures.ts'
import { Audience } from './compare/subscriber.ts'
import { startStubUpstream } from './compare/upstream.ts'
import { atRate } from './replica.ts'

/** Callbacks a second: as many as the upstream accepts submits of one account, and ten times as many. */
const RATES = [2, 20]
const WARM_SECONDS = 5
const SECONDS = 30
const PICTURES = 50
const RSS_BAR_MIB = 400
const EVENT_BAR_MS = 250
/** A failure is confirmed by a poll, and 5 polls a second are allowed: they are for source images, too. */
const FAILURES_PER_SECOND = 2
const PUBLISHED_PER_SECOND = 50

const [otherCheckout] = process.argv.slice(2)
pinLoad()
await using upstream = await startStubUpstream()
await using pictures = await startPictureServer()
await using folder = await openFolder()

async function openFolder() {
  const path = await mkdtemp(join(tmpdir(), 'bench-results-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) }
}

async function startPictureServer() {
  const args = ['--import', 'tsx', 'bench/picture-server.ts']
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  const exited = once(child, 'exit')
  const [url] = (await once(child, 'message')) as [string]
  return {
    url,
    async [Symbol.asyncDispose]() {
      child.kill()
      await exited
    },
  }
}

/** The default settings, with a folder of its own. */
function withResults(name: string): Record<string, string> {
  return {
    ...OWN.env,
    RESULT_INSPECT_MS: '5000',
    RESULT_STORE: `file:${join(folder.path, name)}`,
    RESULT_ALLOW_HOSTS: '127.0.0.1',
  }
}

/** `BENCH_PICTURES=jpg`: progressive JPEGs instead of PNGs. */
const toUrl = (mib: number, name: string) =>
  `${pictures.url}/${mib}/${name}.${process.env.BENCH_PICTURES ?? 'png'}`

/** Sends a callback; how long its answer took, in milliseconds. */
async function callBack(pool: Pool, { callBackPath, upstreamTaskId }: WaitingTask, url: string | null) {
  const data = url === null ? { taskId: upstreamTaskId } : { taskId: upstreamTaskId, resultUrls: [url] }
  const body = JSON.stringify(
    url === null ? { code: 501, msg: 'failed', data } : { code: 200, msg: 'success', data },
  )
  const headers = { 'content-type': 'application/json' }
  const startedAt = performance.now()
  const response = await pool.request({ method: 'POST', path: callBackPath, headers, body })
  const text = await response.body.text()
  if (response.statusCode !== 200)
    throw new Error(`A callback was answered with ${response.statusCode}: ${text}`)
  return performance.now() - startedAt
}

function openPool({ port }: Running) {
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 64 })
  return { pool, [Symbol.asyncDispose]: () => pool.destroy() }
}

function toCells(times: readonly number[]): string {
  return [0.5, 0.99, 1].map((share) => quantile(times, share).toFixed(1).padStart(9)).join(' |')
}

function printRow(name: string, times: readonly number[], barMs = Infinity): void {
  const isMissed = quantile(times, 0.99) > barMs
  if (isMissed) process.exitCode = 1
  console.log(`| ${name.padEnd(64)} |${toCells(times)} |${isMissed ? `  MISSES ${barMs} ms` : ''}`)
}

async function measureCallbacks(name: string, env: Record<string, string>, program = OWN.program) {
  for (const rate of RATES) {
    await using running = await start({ name, program, env }, upstream.url)
    await using connection = openPool(running)
    const [warming, measured] = [
      await running.tasks(WARM_SECONDS * rate),
      await running.tasks(SECONDS * rate),
    ]
    const callAll = (tasks: readonly WaitingTask[]) =>
      atRate(rate, tasks.length, (n) => {
        const task = tasks[n] ?? never()
        return callBack(connection.pool, task, toUrl(1, task.id))
      })
    await callAll(warming)
    await running.memory()
    const cpuBefore = await running.cpu()
    const times = await callAll(measured)
    const cpu = ((await running.cpu()) - cpuBefore) / measured.length
    printRow(`${rate}/s, ${name} (${cpu.toFixed(0)} ms of processor time each)`, times)
  }
}

/** Times from a cause to its event at a subscriber. */
async function openEventTimer(running: Running, tasks: readonly WaitingTask[]) {
  const causedAt = new Map<string, number>()
  const times: number[] = []
  const audience = new Audience(running.port)
  audience.onEvent = (id) => {
    const at = causedAt.get(id)
    causedAt.delete(id)
    if (at !== undefined) times.push(performance.now() - at)
  }
  await audience.follow(tasks.map(({ id }) => id))
  return {
    times,
    begin: (id: string) => void causedAt.set(id, performance.now()),
    waiting: () => causedAt.size,
    [Symbol.dispose]: () => audience[Symbol.dispose](),
  }
}

type EventTimer = Awaited<ReturnType<typeof openEventTimer>>

/** Causes an event so often in a second until the signal is aborted, and waits for the last events. */
async function causeEvents(
  timer: EventTimer,
  perSecond: number,
  signal: AbortSignal,
  cause: (turn: number) => Promise<unknown>,
): Promise<void> {
  const startedAt = performance.now()
  const all: Promise<unknown>[] = []
  for (let turn = 0; !signal.aborted; turn += 1) {
    await pause(Math.max(0, startedAt + (turn * 1_000) / perSecond - performance.now()))
    all.push(cause(turn))
  }
  await Promise.all(all)
  while (timer.waiting() > 0) await pause(20)
}

/** Of the service and its picture process. Their peaks need not coincide. */
async function readMemoryMib({ pid }: Running, field: 'VmHWM' | 'VmRSS'): Promise<number> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  const pids = [String(pid), ...children.trim().split(' ').filter(Boolean)]
  const sizes = pids.map(async (each) => {
    const status = await readFile(`/proc/${each}/status`, 'utf8')
    return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024
  })
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

async function countCopies(store: string): Promise<number> {
  const entries = await readdir(store, { recursive: true }).catch(() => [])
  return entries.filter((name) => /\/[0-9a-f]{64}$/.test(name)).length
}

function never(): never {
  throw new Error('unreachable')
}

async function measurePictures() {
  const env = withResults('pictures')
  const store = join(folder.path, 'pictures')
  await using running = await start({ ...OWN, env }, upstream.url)
  await using connection = openPool(running)
  const { pool } = connection
  const [warming, large] = [await running.tasks(5), await running.tasks(PICTURES)]
  const [published, failing] = [await running.tasks(200), await running.tasks(400)]
  using settled = await openEventTimer(running, large)
  using publications = await openEventTimer(running, published)
  using failures = await openEventTimer(running, failing)
  for (const task of warming) await callBack(pool, task, toUrl(1, task.id))
  while ((await countCopies(store)) < warming.length) await pause(20)
  const before = await readMemoryMib(running, 'VmRSS')

  const stopping = new AbortController()
  const publish = causeEvents(publications, PUBLISHED_PER_SECOND, stopping.signal, (turn) => {
    const { id } = published[turn % published.length] ?? never()
    publications.begin(id)
    return running.publish([id])
  })
  const fail = causeEvents(failures, FAILURES_PER_SECOND, stopping.signal, (turn) => {
    const task = failing[turn] ?? never()
    failures.begin(task.id)
    return callBack(pool, task, null)
  })
  const startedAt = performance.now()
  const answers = await Promise.all(
    large.map((task) => {
      settled.begin(task.id)
      return callBack(pool, task, toUrl(10, task.id))
    }),
  )
  while ((await countCopies(store)) < warming.length + PICTURES) await pause(50)
  const seconds = (performance.now() - startedAt) / 1_000
  stopping.abort()
  await Promise.all([publish, fail])
  while (settled.waiting() > 0) await pause(20)
  const peak = await readMemoryMib(running, 'VmHWM')
  printRow(`answers to the ${PICTURES} callbacks`, answers)
  printRow(`the ${PICTURES} callbacks → SUCCEEDED`, settled.times)
  printRow('a state of another task → its subscriber', publications.times, EVENT_BAR_MS)
  printRow('a callback of a failure → its subscriber', failures.times, EVENT_BAR_MS)
  const isMissed = peak > RSS_BAR_MIB
  if (isMissed) process.exitCode = 1
  console.log(
    `\n${PICTURES} copies after ${seconds.toFixed(1)} s; ${publications.times.length} and ${failures.times.length} events.`,
  )
  console.log(
    `Resident memory: ${before.toFixed(0)} MiB before, ${peak.toFixed(0)} MiB at most${isMissed ? `  MISSES ${RSS_BAR_MIB} MiB` : ''}`,
  )
}

const HEAD = `| ms                                                               |      p50 |      p99 |       max |\n|---|--:|--:|--:|`
if (process.env.BENCH_ONLY !== 'pictures') {
  console.log(`\nThe answer to a callback, with pictures of 1 MiB\n\n${HEAD}`)
  const off = { ...OWN.env }
  if (otherCheckout !== undefined)
    await measureCallbacks('the other checkout', off, resolve(otherCheckout, 'dist-bench/own.js'))
  await measureCallbacks('inspection and copies off', off)
  await measureCallbacks('inspection and copies on', withResults('callbacks'))
}
console.log(`\n${PICTURES} pictures of 10 MiB at once\n\n${HEAD}`)
await measurePictures()
