import type { TaskContext } from '../context.ts'

/** The rank of a task that goes back into the queue: it has had its turn, so it does not go back behind the current turn. */
export async function readReturnRank(
  { queueStore, clock, log }: TaskContext,
  engine: string,
  rank: number,
): Promise<number> {
  try {
    return Math.min(rank, (await queueStore.readTurn(engine, clock.now())) ?? rank)
  } catch (error) {
    log.warn({ err: error }, 'failed to read the turn of the queue: a deferred task keeps its rank')
    return rank
  }
}
