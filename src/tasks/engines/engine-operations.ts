import type { TaskContext } from '../context.ts'
import type { RateBudget } from '../rates.ts'
import { shareCalls } from '../timing.ts'
import { chooseEngine, type EngineRequest, type InputFault } from './choice.ts'
import type { Engines } from './engine-ports.ts'
import { DAY_MS, toDay, type Usage } from './usage.ts'

/** The operations on engines. */
export interface EngineOperations {
  /** The engines of ENGINES, in order. */
  readonly engines: Engines
  /** Why no engine takes this picture; null: one does. */
  findInputFault(request: EngineRequest): InputFault | null
  /** The rate limit of an engine's account; null: no limit. */
  rate(engine: string): Promise<RateBudget | null>
  /**
   * The credits of an engine's account, requested at most every 30 s; null when the engine does not send
   * them.
   */
  credits(engine: string): Promise<number | null>
  /** The reported costs of the last `days` days, newest day first. `owner` null: of all owners. */
  usage(days: number, owner: string | null): Promise<Usage[]>
}

/** How long the credits are shared, in milliseconds: the requests of an account are limited. */
const CREDITS_SHARED_FOR_MS = 30_000

export function createEngineOperations(context: TaskContext): EngineOperations {
  const { engines, limits, store, clock, secrets, policy } = context
  const readCredits = shareCalls(clock, CREDITS_SHARED_FOR_MS, async (engine, correlationId) => {
    const options = { timeoutMs: policy.pollTimeoutMs, correlationId }
    return (await engines.find(engine)?.credits(options)) ?? null
  })
  return {
    engines,
    findInputFault(request) {
      const chosen = chooseEngine(context, request)
      return 'kind' in chosen ? chosen : null
    },
    rate: (engine) => limits.account(engine, clock.now()),
    credits: (engine) => readCredits(engine, secrets.newId()),
    usage: (days, owner) => store.readUsage(toDay(clock.now() - (days - 1) * DAY_MS), owner),
  }
}
