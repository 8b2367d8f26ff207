/** The table and the bars of a fault run. */
import type { Clients, Upscale } from './clients.ts'
import type { SeenError } from './errors.ts'

/** A fault, and the time until the next one; instants of the monotonic clock in milliseconds. */
export interface Phase {
  readonly name: string
  readonly startedAt: number
  readonly failedAt: number
  /** When what had failed was back. */
  readonly endedAt: number
  readonly nextAt: number
}

/** A task as the database has it at the end of the run. */
export interface StoredTask {
  readonly id: string
  readonly source: string
  readonly status: string
}

export interface Run {
  readonly phases: readonly Phase[]
  /** The reason why the previous release is left out; undefined: it is not. */
  readonly leftOut: string | undefined
  readonly clients: Clients
  readonly stored: readonly StoredTask[]
  /** How often each source task was paid. */
  readonly paid: ReadonlyMap<string, number>
  readonly callbackAnswers: ReadonlyMap<string, number>
  /** The logs of all replicas. */
  readonly logs: readonly string[]
}

const COLUMNS = ['fault', 'down', 'submits', 'longest submit', 'last error', 'longest wait'] as const
const NOTES = [
  'down: until what had failed was back. Last error: how long after that. Longest submit: from the first attempt to an accepted one.',
  'Longest wait: from the first attempt to the result. Phases of submits: by their first attempt; of errors: by their time.',
]
const SETTLED = ['SUCCEEDED', 'FAILED']
/**
 * A replica that is killed between the insert and the paid request leaves a task whose outcome nothing can
 * prove.
 */
const UNKNOWN = 'UPSTREAM_OUTCOME_UNKNOWN'
const CALLBACK_STATUSES = ['200', '503']

export const isOpen = ({ status }: StoredTask) => !SETTLED.includes(status)

const seconds = (ms: number) => `${(ms / 1_000).toFixed(1)} s`

export function printTable({ phases, clients, leftOut }: Run): void {
  const rows = phases.map((phase) => toRow(phase, clients))
  const widths = COLUMNS.map((column, index) =>
    Math.max(column.length, ...rows.map((row) => row.cells[index]?.length ?? 0)),
  )
  const show = (cells: readonly string[]) =>
    cells.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join('  ')
  console.log(show(COLUMNS))
  for (const { cells, errors } of rows) {
    console.log(show(cells))
    for (const [kind, count] of errors) console.log(`    ${String(count).padStart(4)} × ${kind}`)
  }
  for (const note of NOTES) console.log(note)
  if (leftOut !== undefined) console.log(`Left out: the previous release: ${leftOut}`)
}

function toRow({ name, startedAt, failedAt, endedAt, nextAt }: Phase, { upscales, errors }: Clients) {
  const isWithin = (at: number) => at >= startedAt && at < nextAt
  const begun = upscales.filter((upscale) => isWithin(upscale.startedAt))
  const seen = errors.all.filter(({ at }) => isWithin(at))
  const longest = (key: 'acceptedAt' | 'settledAt') =>
    Math.max(0, ...begun.map((upscale) => (upscale[key] ?? Infinity) - upscale.startedAt))
  const submits = begun.reduce((sum, upscale) => sum + upscale.submits, 0)
  const lastError = Math.max(0, ...seen.map(({ at }) => at - endedAt))
  const cells = [
    name,
    seconds(endedAt - failedAt),
    `${begun.length} (${submits} attempts)`,
    seconds(longest('acceptedAt')),
    seconds(lastError),
    seconds(longest('settledAt')),
  ]
  return {
    cells,
    errors: count(
      seen.map(({ transport, kind, isAllowed }) => `${transport} ${kind}${isAllowed ? '' : '  NOT ALLOWED'}`),
    ),
  }
}

function count(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const name of names.toSorted()) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}

/** Each bar that the run misses, with the tasks and errors. */
export function findMisses({ phases, clients, stored, paid, callbackAnswers, logs }: Run): string[] {
  const { upscales, errors } = clients
  const killed = phases.find(({ name }) => name.includes('kill -9'))
  const cutOff = new Set(
    errors.all
      .filter(
        ({ at, transport }) => transport === 'http' && killed && at >= killed.startedAt && at < killed.nextAt,
      )
      .map(({ source }) => source),
  )
  const isExpected = ({ outcome, source }: Upscale) =>
    outcome === 'SUCCEEDED' || (outcome === UNKNOWN && cutOff.has(source))
  return [
    ...stored
      .filter(isOpen)
      .map(({ id, source, status }) => `task ${id} of ${source} has not settled: ${status}`),
    ...[...paid]
      .filter(([, times]) => times > 1)
      .map(([source, times]) => `${source} was paid ${times} times`),
    ...upscales
      .filter((upscale) => !isExpected(upscale))
      .map(({ source, outcome }) => `the client of ${source} has ${outcome ?? 'no result'}`),
    ...[...callbackAnswers.keys()]
      .filter((answer) => /^\d/.test(answer) && !CALLBACK_STATUSES.includes(answer))
      .map((answer) => `a callback was answered with ${answer}`),
    ...errors.all.filter(({ isAllowed }) => !isAllowed).map((error) => describeError(error, logs)),
  ]
}

/** The error, and its cause from the log. */
function describeError(
  { transport, kind, source, detail, correlationId }: SeenError,
  logs: readonly string[],
): string {
  const error = `${transport} ${kind} for ${source}: ${detail}`
  if (correlationId === undefined) return error
  const causes = logs
    .flatMap((log) => log.split('\n'))
    .filter((line) => line.includes(correlationId))
    .map(toCause)
  return `${error}; log: ${causes.join('; ') || `no line has ${correlationId}`}`
}

/** The message of a line of the log, with that of its error. */
function toCause(line: string): string {
  const { msg, reason, err } = JSON.parse(line) as { msg: string; reason?: string; err?: { message: string } }
  return [msg, reason, err?.message].filter((part) => part !== undefined).join(': ')
}

export function printTotals({ clients, stored, paid, callbackAnswers }: Run): void {
  const outcomes = count(clients.upscales.map(({ outcome }) => outcome ?? 'no result'))
  const statuses = count(stored.map(({ status }) => status))
  const show = (counts: ReadonlyMap<string, number>) =>
    [...counts].map(([name, times]) => `${times} ${name}`).join(', ')
  const charges = [...paid.values()].reduce((sum, times) => sum + times, 0)
  console.log(`clients: ${show(outcomes)}`)
  console.log(`tasks: ${show(statuses)}; ${charges} paid requests for ${paid.size} source tasks`)
  console.log(`answers to callbacks: ${show(callbackAnswers)}`)
}
