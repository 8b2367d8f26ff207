import type { TaskContext } from '../context.ts'
import type { PollAnswer, ReadOptions } from './engine-ports.ts'

interface Accepted {
  readonly engine: string
  readonly upstreamTaskId: string
}

/** Polls a task at its engine. `unavailable` if ENGINES does not name that engine any more. */
export async function pollTask(
  { engines, log }: Pick<TaskContext, 'engines' | 'log'>,
  { engine: name, upstreamTaskId }: Accepted,
  options: ReadOptions,
): Promise<PollAnswer> {
  const engine = engines.find(name)
  if (engine !== undefined) return engine.poll(upstreamTaskId, options)
  const { correlationId } = options
  log.warn({ engine: name, correlationId }, 'a task cannot be polled: ENGINES does not name its engine')
  return { kind: 'unavailable' }
}
