import type { TaskContext } from '../context.ts'
import type { UpscaleTask } from '../task.ts'

/**
 * The rank of a task that goes back into the queue, or moves to the lane of another engine. It has had its
 * turn, so its rank is not behind the current turn. Ranks of different engines cannot be compared.
 */
export async function readReturnRank(
  { queueStore, clock, log }: TaskContext,
  task: UpscaleTask,
  engine: string,
  rank: number,
): Promise<number> {
  try {
    const turn = await queueStore.readTurn(engine, clock.now())
    return engine === task.engine ? Math.min(rank, turn ?? rank) : (turn ?? rank)
  } catch (error) {
    log.warn({ err: error }, 'failed to read the turn of the queue: a deferred task keeps its rank')
    return rank
  }
}
