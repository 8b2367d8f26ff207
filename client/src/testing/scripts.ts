import { CATALOGUE, type UpscaleErrorCode } from './catalogue.ts'

/** A source task id that selects an outcome in the sandbox, and in the scripted gateway. */
export interface SandboxScript {
  readonly taskId: string
  /** What happens, for people. */
  readonly outcome: string
  /**
   * How the first submit ends. REFUSED: `upscaleImage` answers with a problem and without a task, unless the
   * task waits in the queue.
   */
  readonly ends: 'SUCCEEDED' | 'FAILED' | 'REFUSED'
  /** The code of the problem; null: it succeeds. */
  readonly code: UpscaleErrorCode | null
  /** Why it takes longer than the others; null: it does not. */
  readonly waitsFor: 'POLL' | 'SUBMIT_TIMEOUT' | 'DEADLINE' | 'SCRIPT' | null
}

type Facts = Pick<SandboxScript, 'ends' | 'code' | 'waitsFor'>

const SUCCESS: Facts = { ends: 'SUCCEEDED', code: null, waitsFor: null }
const UNKNOWN = 'it is not known whether the task was accepted: SUBMITTED, then succeeds'

const refused = (code: UpscaleErrorCode): Facts => ({ ends: 'REFUSED', code, waitsFor: null })
const failed = (code: UpscaleErrorCode): Facts => ({ ends: 'FAILED', code, waitsFor: null })

const coded = CATALOGUE.flatMap(({ code, upstreamCode }) => (upstreamCode ? [{ code, upstreamCode }] : []))

/** An entry for each outcome that the sandbox simulates with the engine `kie-midjourney`. */
export const SANDBOX_SCRIPTS: readonly SandboxScript[] = [
  { taskId: 'my-picture', outcome: 'accepted; succeeds after about 2 seconds', ...SUCCESS },
  {
    taskId: 'sandbox-late-20',
    outcome: 'accepted; succeeds after 20 seconds',
    ...SUCCESS,
    waitsFor: 'SCRIPT',
  },
  { taskId: 'sandbox-early', outcome: 'the result is ready before the answer to the submit', ...SUCCESS },
  {
    taskId: 'sandbox-duplicate',
    outcome: 'accepted; the upstream reports the result three times',
    ...SUCCESS,
  },
  {
    taskId: 'sandbox-lost',
    outcome: 'accepted; no callback: the gateway polls the result',
    ...SUCCESS,
    waitsFor: 'POLL',
  },
  ...coded.map(({ code, upstreamCode }) => ({
    taskId: `sandbox-callback-${upstreamCode}`,
    outcome: `accepted; fails with the upstream's code ${upstreamCode}`,
    ...failed(code),
  })),
  {
    taskId: 'sandbox-callback-599',
    outcome: "accepted; fails with a code that is not part of the upstream's contract",
    ...failed('UPSTREAM_PROTOCOL_ERROR'),
  },
  ...coded.map(({ code, upstreamCode }) => ({
    taskId: `sandbox-code-${upstreamCode}`,
    outcome: `refused with the upstream's code ${upstreamCode}`,
    ...refused(code),
  })),
  {
    taskId: 'sandbox-code-599',
    outcome: "refused with a code that is not part of the upstream's contract",
    ...refused('UPSTREAM_PROTOCOL_ERROR'),
  },
  {
    taskId: 'sandbox-http-429',
    outcome: 'refused with HTTP status 429 and the same code',
    ...refused('UPSTREAM_RATE_LIMITED'),
  },
  {
    taskId: 'sandbox-http-455',
    outcome: 'refused with HTTP status 455 and the same code',
    ...refused('UPSTREAM_MAINTENANCE'),
  },
  {
    taskId: 'sandbox-busy-2',
    outcome: 'the first two submits are refused with code 429; the third is accepted',
    ...refused('UPSTREAM_RATE_LIMITED'),
  },
  {
    taskId: 'sandbox-hang',
    outcome: `no answer to the submit until its timeout (30 s); ${UNKNOWN}`,
    ...SUCCESS,
    waitsFor: 'SUBMIT_TIMEOUT',
  },
  { taskId: 'sandbox-reset', outcome: `the connection is reset; ${UNKNOWN}`, ...SUCCESS },
  { taskId: 'sandbox-no-id', outcome: `the answer names no task; ${UNKNOWN}`, ...SUCCESS },
  { taskId: 'sandbox-empty', outcome: `HTTP 200 with an empty body; ${UNKNOWN}`, ...SUCCESS },
  ...['html', 'empty'].flatMap((body) =>
    [502, 504].map((status) => ({
      taskId: `sandbox-${body}-${status}`,
      outcome: `a proxy answers HTTP ${status} with ${body === 'html' ? 'an HTML page' : 'an empty body'}; ${UNKNOWN}`,
      ...SUCCESS,
    })),
  ),
  {
    taskId: 'sandbox-html-403',
    outcome: 'refused by a proxy with HTTP status 403',
    ...refused('UPSTREAM_PROTOCOL_ERROR'),
  },
  {
    taskId: 'sandbox-html-429',
    outcome: 'refused by a proxy with HTTP status 429 and `Retry-After: 20`',
    ...refused('UPSTREAM_RATE_LIMITED'),
  },
  {
    taskId: 'sandbox-html-503',
    outcome: 'refused by a proxy with HTTP status 503 and `Retry-After: 20`',
    ...refused('UPSTREAM_MAINTENANCE'),
  },
  {
    taskId: 'sandbox-empty-522',
    outcome: 'refused by a CDN that did not reach the upstream',
    ...refused('UPSTREAM_UNREACHABLE'),
  },
  {
    taskId: 'sandbox-html',
    outcome: 'as sandbox-html-502, but the task was not accepted: SUBMITTED until the deadline (30 minutes)',
    ...failed('UPSTREAM_OUTCOME_UNKNOWN'),
    waitsFor: 'DEADLINE',
  },
]
