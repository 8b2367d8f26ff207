/**
 * Source task ids script what the sandbox does, as test cards do in payment sandboxes: every screen of a
 * frontend can be built without a credit.
 */

/** How the create request is answered. */
export type CreateAnswer =
  | { readonly kind: 'accept' }
  /** Refused with this code: in the body of an HTTP 200, or as HTTP status and in the body. */
  | { readonly kind: 'refuse'; readonly httpStatus: number; readonly code: number }
  /** Accepted, but the answer never comes, the connection is cut, or a page comes in its place. */
  | { readonly kind: 'hang' | 'reset' | 'html' }

export interface Scenario {
  readonly create: CreateAnswer
  /** The code that completion is reported with. */
  readonly completionCode: number
  readonly completeAfterMs: number
  /** How many callbacks are sent. */
  readonly callbacks: number
  /** True: the callback comes before the create request is answered. */
  readonly early: boolean
}

const DEFAULT: Omit<Scenario, 'completeAfterMs'> = {
  create: { kind: 'accept' },
  completionCode: 200,
  callbacks: 1,
  early: false,
}

/** Ids that script one thing each. */
const NAMED: Record<string, Partial<Scenario>> = {
  'sandbox-lost': { callbacks: 0 },
  'sandbox-duplicate': { callbacks: 3 },
  'sandbox-early': { completeAfterMs: 0, early: true },
  'sandbox-hang': { create: { kind: 'hang' } },
  'sandbox-reset': { create: { kind: 'reset' } },
  'sandbox-html': { create: { kind: 'html' } },
}

/** Ids that end in a number. */
const NUMBERED: Record<string, (number: number) => Partial<Scenario>> = {
  code: (code) => ({ create: toAnswer(200, code) }),
  http: (code) => ({ create: toAnswer(code, code) }),
  callback: (completionCode) => ({ completionCode }),
  late: (seconds) => ({ completeAfterMs: seconds * 1_000 }),
}

function toAnswer(httpStatus: number, code: number): CreateAnswer {
  return code === 200 ? { kind: 'accept' } : { kind: 'refuse', httpStatus, code }
}

/** What the sandbox does with a source task id; any id it has no script for succeeds after `completeAfterMs`. */
export function toScenario(sourceTaskId: string, completeAfterMs: number): Scenario {
  const [, kind = '', number = ''] = /^sandbox-(code|http|callback|late)-(\d{1,5})$/.exec(sourceTaskId) ?? []
  return { ...DEFAULT, completeAfterMs, ...NAMED[sourceTaskId], ...NUMBERED[kind]?.(Number(number)) }
}
