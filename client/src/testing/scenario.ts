import { CATALOGUE, REFUSAL_BY_STATUS, type UpscaleErrorCode } from './catalogue.ts'

/** Why a task is refused or fails. */
export interface Cause {
  readonly code: UpscaleErrorCode
  readonly upstreamCode: number | null
  readonly retryAfterMs: number | null
  /** Whether nothing can have been charged: the idempotency key is free again. */
  readonly nothingCharged: boolean
  /** Whether a submit with `queue: true` waits in the queue. */
  readonly isTemporary: boolean
}

type Answer =
  | { readonly kind: 'accepted' }
  /** `isHanging`: the answer is lost only at the timeout of the submit. */
  | {
      readonly kind: 'lost'
      readonly isHanging: boolean
      readonly isAccepted: boolean
      readonly note: string
    }
  | { readonly kind: 'refused'; readonly cause: Cause; readonly note: string }

/** What a source task id selects, as in the sandbox. */
export interface Scenario {
  readonly answer: Answer
  /** How many submits are refused with 429 before one is accepted. */
  readonly busy: number
  /** Why the accepted task fails; null: it succeeds. */
  readonly failure: Cause | null
  /** Null: the default. */
  readonly completeAfterMs: number | null
  /** False: the gateway has to poll the result. */
  readonly callsBack: boolean
  /** The result comes before the answer to the submit. */
  readonly isEarly: boolean
}

/** The cause with the values of the catalogue. */
export function toCause(code: UpscaleErrorCode, upstreamCode: number | null = null): Cause {
  const entry = CATALOGUE.find((each) => each.code === code)
  if (entry === undefined) throw new Error(`The catalogue has no code ${code}`)
  const { retryAfterMs, nothingCharged, isOutage: isTemporary } = entry
  return { code, upstreamCode, retryAfterMs, nothingCharged, isTemporary }
}

/** The cause of an upstream's code. */
function toUpstreamCause(upstreamCode: number): Cause {
  const entry = CATALOGUE.find((each) => each.upstreamCode === upstreamCode)
  return toCause(entry?.code ?? 'UPSTREAM_PROTOCOL_ERROR', upstreamCode)
}

const ACCEPTED: Scenario = {
  answer: { kind: 'accepted' },
  busy: 0,
  failure: null,
  completeAfterMs: null,
  callsBack: true,
  isEarly: false,
}

const NAMED: Readonly<Record<string, Partial<Scenario>>> = {
  'sandbox-lost': { callsBack: false },
  'sandbox-early': { isEarly: true },
  'sandbox-hang': { answer: lose('timed out', { isHanging: true }) },
  'sandbox-reset': { answer: lose('lost: the connection was reset') },
  'sandbox-no-id': { answer: lose('not understood: HTTP 200, code 200, no task id') },
  'sandbox-empty': { answer: loseTo(200) },
  'sandbox-html': { answer: { ...loseTo(502), isAccepted: false } },
}

const NUMBERED: Readonly<Record<string, (number: number) => Partial<Scenario>>> = {
  code: (code) => ({ answer: toAnswer(code) }),
  http: (code) => ({ answer: toAnswer(code) }),
  html: (status) => ({ answer: toProxyAnswer(status) }),
  empty: (status) => ({ answer: toProxyAnswer(status) }),
  busy: (busy) => ({ busy }),
  callback: (code) => ({ failure: code === 200 ? null : toUpstreamCause(code) }),
  late: (seconds) => ({ completeAfterMs: seconds * 1_000 }),
}

const WITH_NUMBER = /^sandbox-([a-z]+)-(\d{1,5})$/

export function toScenario(sourceTaskId: string): Scenario {
  const id = sourceTaskId.replace(/^sandbox-kie-midjourney-/, 'sandbox-')
  const [, kind = '', number = ''] = WITH_NUMBER.exec(id) ?? []
  return { ...ACCEPTED, ...NAMED[id], ...NUMBERED[kind]?.(Number(number)) }
}

function lose(note: string, { isHanging = false } = {}) {
  return { kind: 'lost', isHanging, isAccepted: true, note } as const
}

function loseTo(status: number) {
  return lose(`not understood: HTTP ${status} without an envelope`)
}

export function toAnswer(code: number): Answer {
  return code === 200
    ? { kind: 'accepted' }
    : {
        kind: 'refused',
        cause: toUpstreamCause(code),
        note: `refused by the upscale service with code ${code}`,
      }
}

/** A proxy answers. The statuses of `REFUSAL_BY_STATUS` prove that the upstream did not run the request. */
function toProxyAnswer(number: number): Answer {
  const status = number >= 200 && number <= 599 ? number : 502
  const refusal = REFUSAL_BY_STATUS[status]
  if (refusal === undefined) return { ...loseTo(status), isAccepted: status < 400 || status > 499 }
  const cause = toCause(refusal.code, status)
  const sendsWait = (status === 429 || status === 503) && cause.retryAfterMs !== null
  return {
    kind: 'refused',
    cause: {
      ...cause,
      nothingCharged: true,
      isTemporary: refusal.isTemporary,
      ...(sendsWait && { retryAfterMs: RETRY_AFTER_MS }),
    },
    note: `refused before the upscale service ran it: HTTP ${status} without an envelope`,
  }
}

/** What the proxies of the sandbox send as Retry-After. */
const RETRY_AFTER_MS = 20_000
