/** The answer to the create request. */
type CreateAnswer =
  | { readonly kind: 'accept' }
  /** Accepted, but the envelope of success names no task. */
  | { readonly kind: 'no-id' }
  /** Accepted, but no answer comes. */
  | { readonly kind: 'hang' }
  /** Accepted, but the connection is cut. */
  | { readonly kind: 'reset' }
  /** Refused with this code: in the body of an HTTP 200, or as HTTP status and in the body. */
  | { readonly kind: 'refuse'; readonly httpStatus: number; readonly code: number }
  /** A proxy answers: with an HTML page, or with an empty body. `accepted`: the task was accepted nevertheless. */
  | {
      readonly kind: 'proxy'
      readonly httpStatus: number
      readonly body: 'html' | 'empty'
      readonly accepted: boolean
    }

export interface Scenario {
  readonly create: CreateAnswer
  /** How many submits are refused with 429 before one is accepted. */
  readonly busy: number
  /** The code of the callback and of record-info. */
  readonly completionCode: number
  readonly completeAfterMs: number
  readonly callbacks: number
  /** True: the callback is sent before the answer to the create request. */
  readonly early: boolean
}

const DEFAULT: Omit<Scenario, 'completeAfterMs'> = {
  create: { kind: 'accept' },
  busy: 0,
  completionCode: 200,
  callbacks: 1,
  early: false,
}

/** Fixed source task ids. */
const NAMED: Record<string, Partial<Scenario>> = {
  'sandbox-lost': { callbacks: 0 },
  'sandbox-duplicate': { callbacks: 3 },
  'sandbox-early': { completeAfterMs: 0, early: true },
  'sandbox-hang': { create: { kind: 'hang' } },
  'sandbox-reset': { create: { kind: 'reset' } },
  'sandbox-no-id': { create: { kind: 'no-id' } },
  'sandbox-empty': { create: { kind: 'proxy', httpStatus: 200, body: 'empty', accepted: true } },
  // As sandbox-html-502, but the task is not accepted, and no callback is sent.
  'sandbox-html': { create: { kind: 'proxy', httpStatus: 502, body: 'html', accepted: false } },
}

/** Source task ids that end in a number, such as `sandbox-late-60`. */
const NUMBERED: Record<string, (number: number) => Partial<Scenario>> = {
  code: (code) => ({ create: toAnswer(200, code) }),
  http: (code) => ({ create: toAnswer(code, code) }),
  html: (httpStatus) => ({ create: toProxyAnswer(httpStatus, 'html') }),
  empty: (httpStatus) => ({ create: toProxyAnswer(httpStatus, 'empty') }),
  busy: (busy) => ({ busy }),
  callback: (completionCode) => ({ completionCode }),
  late: (seconds) => ({ completeAfterMs: seconds * 1_000 }),
}

function toAnswer(httpStatus: number, code: number): CreateAnswer {
  return code === 200 ? { kind: 'accept' } : { kind: 'refuse', httpStatus, code }
}

/** Statuses of a CDN or proxy that has not forwarded the request; for 521 to 530 see Cloudflare's error codes. */
const ORIGIN_NOT_REACHED = [503, 511, 521, 522, 523, 525, 526, 530]

function toProxyAnswer(httpStatus: number, body: 'html' | 'empty'): CreateAnswer {
  const refused = (httpStatus >= 400 && httpStatus < 500) || ORIGIN_NOT_REACHED.includes(httpStatus)
  return { kind: 'proxy', httpStatus, body, accepted: !refused }
}

const WITH_NUMBER = new RegExp(`^sandbox-(${Object.keys(NUMBERED).join('|')})-(\\d{1,5})$`)

/**
 * The scenario of a source task id: like a test card in a payment sandbox, the id selects the outcome. All other ids
 * succeed after `completeAfterMs`.
 */
export function toScenario(sourceTaskId: string, completeAfterMs: number): Scenario {
  const [, kind = '', number = ''] = WITH_NUMBER.exec(sourceTaskId) ?? []
  return { ...DEFAULT, completeAfterMs, ...NAMED[sourceTaskId], ...NUMBERED[kind]?.(Number(number)) }
}
