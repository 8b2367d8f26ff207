/** Which engine a task is sent to. */
import type { TaskContext } from '../context.ts'
import type { Picture, UpscaleTask } from '../task.ts'
import type { Engine, SubmitAnswer, UnsupportedField } from './engine-ports.ts'

type Choice = Pick<TaskContext, 'engines' | 'policy'>

/** A picture and the engine that the caller has named; null: the gateway chooses. */
export type EngineRequest = Picture & Pick<UpscaleTask, 'requestedEngine'>

/** Why no engine can upscale a picture. */
export type InputFault =
  | { readonly kind: 'unknown-engine'; readonly names: readonly string[] }
  | ({ readonly kind: 'unsupported'; readonly engine: string } & UnsupportedField)

/**
 * The engine for a new task: the one that the caller has named, else the first of ENGINES; with ENGINE_FALLBACK the first that
 * supports the input and is available.
 */
export function chooseEngine({ engines, policy }: Choice, request: EngineRequest): Engine | InputFault {
  const { requestedEngine } = request
  const named = requestedEngine === null ? undefined : engines.find(requestedEngine)
  if (requestedEngine !== null && named === undefined)
    return { kind: 'unknown-engine', names: engines.all.map(({ name }) => name) }
  const candidates = named ? [named] : policy.engineFallback ? engines.all : engines.all.slice(0, 1)
  const supporting = candidates.filter((engine) => engine.findUnsupported(request) === null)
  const chosen = supporting.find(({ name }) => engines.isAvailable(name)) ?? supporting[0]
  if (chosen !== undefined) return chosen
  const [first] = candidates
  const fault = first?.findUnsupported(request)
  if (!first || !fault) throw new Error('There is no engine')
  return { kind: 'unsupported', engine: first.name, ...fault }
}

/** Whether a task is at this engine only because the one before it is unavailable. */
export function isReplacement({ engines, policy }: Choice, task: UpscaleTask): boolean {
  const preferred = engines.all.find((engine) => engine.findUnsupported(task) === null)
  return policy.engineFallback && task.requestedEngine === null && task.engine !== preferred?.name
}

/**
 * Whether a refusal lets the task move on to another engine: the engine takes no tasks, or it is a replacement that does not know
 * the source task.
 */
function allowsMove(context: Choice, task: UpscaleTask, answer: SubmitAnswer): boolean {
  if (answer.kind !== 'refused' || !context.policy.engineFallback || task.requestedEngine !== null)
    return false
  return answer.engineUnavailable ?? (answer.sourceUnknown === true && isReplacement(context, task))
}

/**
 * The engines that a refused task may be sent to next, in order. Those before its engine have been tried, or were not available:
 * so each is tried at most once.
 */
export function toNextEngines(context: Choice, task: UpscaleTask, answer: SubmitAnswer): readonly Engine[] {
  if (!allowsMove(context, task, answer)) return []
  const { engines } = context
  const position = engines.all.findIndex(({ name }) => name === task.engine)
  const others = engines.all.slice(position + 1)
  return others.filter((engine) => engine.findUnsupported(task) === null && engines.isAvailable(engine.name))
}
