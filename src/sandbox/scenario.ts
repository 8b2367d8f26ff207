/** The answer to the create request. */
type CreateAnswer =
  | { readonly kind: 'accept' }
  /** Accepted, but the envelope of success names no task. */
  | { readonly kind: 'no-id' }
  /** Accepted, but no answer comes. */
  | { readonly kind: 'hang' }
  /** Accepted, but the connection is cut. */
  | { readonly kind: 'reset' }
  /**
   * Refused with this kie.ai code, which the dialect translates. `httpStatus` null: the dialect chooses it.
   */
  | { readonly kind: 'refuse'; readonly httpStatus: number | null; readonly code: number }
  /**
   * A proxy answers: with an HTML page, or with an empty body. `accepted`: the task was accepted
   * nevertheless.
   */
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
  /** The kie.ai code of the completion. */
  readonly completionCode: number
  readonly completeAfterMs: number
  readonly callbacks: number
  /** True: the callback is sent before the answer to the create request. */
  readonly early: boolean
  /** What only some dialects simulate; the others accept the submit as usual. */
  readonly extra: 'existing' | 'queued' | 'instant' | null
}

const DEFAULT: Omit<Scenario, 'completeAfterMs'> = {
  create: { kind: 'accept' },
  busy: 0,
  completionCode: 200,
  callbacks: 1,
  early: false,
  extra: null,
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
  'sandbox-existing': { extra: 'existing' },
  'sandbox-queued': { extra: 'queued' },
  'sandbox-instant': { extra: 'instant', completeAfterMs: 0 },
}

/** Source task ids that end in a number, such as `sandbox-late-60`. */
const NUMBERED: Record<string, (number: number) => Partial<Scenario>> = {
  code: (code) => ({ create: toAnswer(null, code) }),
  http: (code) => ({ create: toAnswer(code, code) }),
  html: (httpStatus) => ({ create: toProxyAnswer(httpStatus, 'html') }),
  empty: (httpStatus) => ({ create: toProxyAnswer(httpStatus, 'empty') }),
  busy: (busy) => ({ busy }),
  callback: (completionCode) => ({ completionCode }),
  late: (seconds) => ({ completeAfterMs: seconds * 1_000 }),
}

function toAnswer(httpStatus: number | null, code: number): CreateAnswer {
  return code === 200 ? { kind: 'accept' } : { kind: 'refuse', httpStatus, code }
}

/**
 * Statuses of a CDN or proxy that has not forwarded the request; for 521 to 530 see Cloudflare's error codes.
 */
const ORIGIN_NOT_REACHED = [503, 511, 521, 522, 523, 525, 526, 530]

function toProxyAnswer(httpStatus: number, body: 'html' | 'empty'): CreateAnswer {
  const refused = (httpStatus >= 400 && httpStatus < 500) || ORIGIN_NOT_REACHED.includes(httpStatus)
  return { kind: 'proxy', httpStatus, body, accepted: !refused }
}

const WITH_NUMBER = new RegExp(`^sandbox-(${Object.keys(NUMBERED).join('|')})-(\\d{1,5})$`)

/**
 * The scenario of a source task id: like a test card in a payment sandbox, the id selects the outcome. In
 * `sandbox-legnext-hang` it does so for the dialect `legnext` only. All other ids succeed after
 * `completeAfterMs`.
 */
export function toScenario(sourceTaskId: string, dialect: string, completeAfterMs: number): Scenario {
  const own = `sandbox-${dialect}-`
  const id = sourceTaskId.startsWith(own) ? `sandbox-${sourceTaskId.slice(own.length)}` : sourceTaskId
  const [, kind = '', number = ''] = WITH_NUMBER.exec(id) ?? []
  return { ...DEFAULT, completeAfterMs, ...NAMED[id], ...NUMBERED[kind]?.(Number(number)) }
}
