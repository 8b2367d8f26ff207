import DataLoader from 'dataloader'
import type { UpscaleTask } from '../tasks/task.ts'

/** How many ids one query reads. */
const MAX_READ = 100

/**
 * Reads single tasks in batches. All ids that are requested within one turn of the event loop are read
 * together, each once: thousands of watchers may wake at once. A read never gets the result of a query that
 * was sent before it. The batches of a turn run one after another, so that they leave connections to others
 * and few results are in memory at once.
 */
export function createBatchRead(
  readMany: (ids: readonly string[]) => Promise<UpscaleTask[]>,
): (id: string) => Promise<UpscaleTask | undefined> {
  let previous: Promise<unknown> | undefined
  const batch = async (ids: readonly string[]) => {
    loader.clearAll()
    if (previous === undefined) setImmediate(() => (previous = undefined))
    const reading = Promise.resolve(previous).then(() => readMany(ids))
    // The next batch runs whether this one fails or not; the reads of this one get the error.
    previous = reading.catch(() => undefined)
    const found = new Map((await reading).map((task) => [task.id, task]))
    return ids.map((id) => found.get(id))
  }
  const loader = new DataLoader(batch, {
    maxBatchSize: MAX_READ,
    // After the pending promises, each of which may read.
    batchScheduleFn: (dispatch) => void setImmediate(dispatch),
  })
  return (id) => loader.load(id)
}
