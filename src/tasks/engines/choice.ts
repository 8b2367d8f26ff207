/** Which engine a task is sent to. */
import type { TaskContext } from '../context.ts'
import type { Picture, UpscaleTask } from '../task.ts'
import type { Engine, SubmitAnswer, UnsupportedField } from './engine-ports.ts'

type ChoiceContext = Pick<TaskContext, 'engines' | 'policy'>

/** A picture and the engine that the caller has named; null: the gateway chooses. */
export type EngineRequest = Picture & Pick<UpscaleTask, 'requestedEngine'>

/** Why no engine can upscale a picture. */
export type InputFault =
  | { readonly kind: 'unknown-engine'; readonly names: readonly string[] }
  | ({ readonly kind: 'unsupported'; readonly engine: string } & UnsupportedField)

/**
 * The engine that a task begins with: the one that the caller has named, else the first of ENGINES. With
 * ENGINE_FALLBACK the first that supports the input and is available; if none is available, the first that
 * supports the input.
 */
export function chooseEngine(
  { engines, policy }: ChoiceContext,
  request: EngineRequest,
): Engine | InputFault {
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

/**
 * Whether the engine of a task replaces the first one that supports its input, because that one is
 * unavailable.
 */
export function isReplacement({ engines, policy }: ChoiceContext, task: UpscaleTask): boolean {
  const preferred = engines.all.find((engine) => engine.findUnsupported(task) === null)
  return policy.engineFallback && task.requestedEngine === null && task.engine !== preferred?.name
}

/**
 * The engines that a refused task may be sent to next, in order. If the first refusal comes from a
 * replacement that does not know the source task, earlier engines had open circuits: they are tried, too.
 */
export function findCandidates(
  context: ChoiceContext,
  task: UpscaleTask,
  answer: SubmitAnswer,
): readonly Engine[] {
  if (!allowsMove(context, task, answer)) return []
  const next = findNextEngines(context, task)
  const isFirstRefusal =
    answer.kind === 'refused' && answer.sourceUnknown === true && task.queueRefusal === null
  if (!isFirstRefusal) return next
  const { all } = context.engines
  const before = all.slice(
    0,
    all.findIndex(({ name }) => name === task.engine),
  )
  return [...before.filter((engine) => engine.findUnsupported(task) === null), ...next]
}

/**
 * Whether a refusal lets the task move on to another engine: the engine takes no tasks, or it is a
 * replacement that does not know the source task.
 */
function allowsMove(context: ChoiceContext, task: UpscaleTask, answer: SubmitAnswer): boolean {
  if (answer.kind !== 'refused') return false
  return answer.engineUnavailable ?? (answer.sourceUnknown === true && isReplacement(context, task))
}

/**
 * The engines that a task may move on to, in order: only those after its engine, so that each engine is tried
 * at most once, and no task moves back and forth.
 */
export function findNextEngines({ engines, policy }: ChoiceContext, task: UpscaleTask): readonly Engine[] {
  if (!policy.engineFallback || task.requestedEngine !== null) return []
  const position = engines.all.findIndex(({ name }) => name === task.engine)
  const others = engines.all.slice(position + 1)
  return others.filter((engine) => engine.findUnsupported(task) === null && engines.isAvailable(engine.name))
}
