import CircuitBreaker from 'opossum'
import type { SubmitAnswer } from '../tasks/engines/engine-ports.ts'

export const CIRCUITS = ['closed', 'open', 'half-open'] as const
/**
 * open: the engine has failed repeatedly. half-open: the answer to the next submit closes or opens the
 * circuit.
 */
export type Circuit = (typeof CIRCUITS)[number]

interface BreakerOptions {
  /** How long the circuit stays open before one submit tries again, in milliseconds. */
  readonly resetMs?: number
  readonly onChange: (circuit: Circuit) => void
}

const RESET_MS = 30_000
/** The circuit opens if at least this many submits were sent in the last minute … */
const MIN_SUBMITS = 5
/** … and more than this share of them has failed, in percent. */
const MAX_FAILED_PERCENT = 50
const MEASURED_FOR_MS = 60_000

/** Wraps a failed answer in a rejection, because opossum counts only rejections. */
class FailedAnswer extends Error {
  readonly answer: SubmitAnswer

  constructor(answer: SubmitAnswer) {
    super('The engine has failed')
    this.answer = answer
  }
}

/**
 * A circuit breaker that measures the submits of one engine. It counts failures of the engine, not refusals
 * of one request.
 */
export class Breaker implements Disposable {
  readonly #circuit: CircuitBreaker<[() => Promise<SubmitAnswer>], SubmitAnswer>
  #isTrying = false

  constructor({ resetMs = RESET_MS, onChange }: BreakerOptions) {
    this.#circuit = new CircuitBreaker(runSubmit, {
      timeout: false,
      resetTimeout: resetMs,
      volumeThreshold: MIN_SUBMITS,
      errorThresholdPercentage: MAX_FAILED_PERCENT,
      rollingCountTimeout: MEASURED_FOR_MS,
    })
    const change = () => onChange(this.state)
    this.#circuit.on('open', change).on('halfOpen', change).on('close', change)
  }

  get state(): Circuit {
    if (this.#circuit.opened) return 'open'
    return this.#circuit.halfOpen ? 'half-open' : 'closed'
  }

  /**
   * Whether new tasks may be sent to the engine: false while the circuit is open, or half-open with a trial
   * that runs.
   */
  get admits(): boolean {
    return this.state === 'closed' || (this.state === 'half-open' && !this.#isTrying)
  }

  /** Runs a submit, measured unless the circuit is open. Never blocks one: there may be no other engine. */
  async run(submit: () => Promise<SubmitAnswer>): Promise<SubmitAnswer> {
    const isTrial = this.state === 'half-open' && !this.#isTrying
    if (isTrial) this.#isTrying = true
    try {
      return await this.#circuit.fire(submit)
    } catch (error) {
      if (error instanceof FailedAnswer) return error.answer
      if (!isUnmeasured(error)) throw error
      return await submit()
    } finally {
      if (isTrial) this.#isTrying = false
    }
  }

  [Symbol.dispose](): void {
    this.#circuit.shutdown()
  }
}

async function runSubmit(submit: () => Promise<SubmitAnswer>): Promise<SubmitAnswer> {
  const answer = await submit()
  if (isFailure(answer)) throw new FailedAnswer(answer)
  return answer
}

/**
 * UPSTREAM_NOT_FOUND does not count: a caller can cause it with wrong source tasks if the upstream's answer
 * does not distinguish them from a missing endpoint.
 */
function isFailure(answer: SubmitAnswer): boolean {
  if (answer.kind !== 'refused') return answer.kind === 'unknown'
  return answer.engineUnavailable === true && answer.failure.code !== 'UPSTREAM_NOT_FOUND'
}

/** The library rejects with these codes what it does not run. */
function isUnmeasured(error: unknown): boolean {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'EOPENBREAKER' || code === 'ESHUTDOWN'
}
