import type { Engine, Engines } from '../tasks/engines/engine-ports.ts'
import { Breaker, type Circuit } from './breaker.ts'

interface EnginesOptions {
  /** How long the circuit of an engine stays open, in milliseconds. */
  readonly resetMs?: number | undefined
  /** Called when the circuit of an engine changes. */
  readonly onCircuit: (engine: string, circuit: Circuit) => void
}

/** The engines, each measured by a circuit breaker. Disposes of the engines, too. */
export function openEngines(
  engines: readonly (Engine & Disposable)[],
  { resetMs, onCircuit }: EnginesOptions,
): Engines & Disposable {
  const opened = new DisposableStack()
  const guarded = engines.map((engine) => {
    const onChange = (circuit: Circuit) => onCircuit(engine.name, circuit)
    const breaker = opened.use(new Breaker({ onChange, ...(resetMs !== undefined && { resetMs }) }))
    opened.use(engine)
    onChange(breaker.state)
    return { engine: guard(engine, breaker), breaker }
  })
  const byName = new Map(guarded.map((each) => [each.engine.name, each]))
  return {
    all: guarded.map(({ engine }) => engine),
    find: (name) => byName.get(name)?.engine,
    isAvailable: (name) => byName.get(name)?.breaker.admits ?? false,
    [Symbol.dispose]: () => opened.dispose(),
  }
}

function guard(engine: Engine, breaker: Breaker): Engine {
  const { name, mode, signsCallbacks } = engine
  return {
    name,
    mode,
    signsCallbacks,
    findUnsupported: (picture) => engine.findUnsupported(picture),
    submit: (request, correlationId) => breaker.run(() => engine.submit(request, correlationId)),
    poll: (upstreamTaskId, options) => engine.poll(upstreamTaskId, options),
    readSource: (sourceTaskId, options) => engine.readSource(sourceTaskId, options),
    credits: (options) => engine.credits(options),
    parseCallback: (body) => engine.parseCallback(body),
  }
}
