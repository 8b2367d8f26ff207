import { setTimeout } from 'node:timers/promises'
import type { Engines } from '../tasks/engines/engine-ports.ts'
import type { Clock, Log } from '../tasks/ports.ts'
import type { PollBudget } from '../tasks/rates.ts'
import type { SourceImage, UpscaleTask } from '../tasks/task.ts'
import { createSequence, shareCalls } from '../tasks/timing.ts'
import type { ResultJobs } from './jobs.ts'
import type { PictureSource } from './pictures.ts'

interface SourceImageOptions {
  readonly engines: Pick<Engines, 'find'>
  readonly budget: Pick<PollBudget, 'take'>
  readonly pictures: PictureSource
  readonly jobs: Pick<ResultJobs, 'saveSource'>
  readonly clock: Clock
  readonly log: Log
  /** Aborts downloads. */
  readonly signal: AbortSignal
}

/**
 * Loads the source image of a task, and stores it with the task. Null: the upstream does not report it, or loading takes
 * longer than a second and continues in the background. Does not reject.
 */
export type LoadSourceImage = (
  task: SourceOf & Pick<UpscaleTask, 'id' | 'correlationId'>,
) => Promise<SourceImage | null>

type SourceOf = Pick<UpscaleTask, 'engine' | 'sourceTaskId' | 'imageIndex'>

/** How long an outcome is shared, in milliseconds, so that an unknown source task is not polled at each request. */
const SHARED_FOR_MS = 60_000
const POLL_TIMEOUT_MS = 3_000
const WAIT_MS = 1_000
/** The share of the polls that is left to callbacks and to tasks without one: 3 of 5. */
const SPARED_POLLS = 0.6
/** How many source images may wait for a poll. */
const MAX_WAITING = 100
const RETRY_MS = 500
/** A generation has four images. A single image is a grid of the four, which does not contain the source as a file. */
const IMAGES_OF_GENERATION = 4

interface Finder extends SourceImageOptions {
  takePoll(): Promise<boolean>
}

export function createSourceImageLoader(options: SourceImageOptions): LoadSourceImage {
  const { jobs, clock, log, signal } = options
  const takePoll = createPollQueue(options)
  const find = shareCalls(clock, SHARED_FOR_MS, (key, correlationId) => {
    const [engine, sourceTaskId, imageIndex] = JSON.parse(key) as [string, string, number]
    return findSourceImage({ ...options, takePoll }, { engine, sourceTaskId, imageIndex }, correlationId)
  })
  const load: LoadSourceImage = async ({ id, correlationId, engine, sourceTaskId, imageIndex }) => {
    try {
      const image = await find(JSON.stringify([engine, sourceTaskId, imageIndex]), correlationId)
      if (image !== null) await jobs.saveSource(id, image)
      return image
    } catch (error) {
      log.warn({ err: error, taskId: id, correlationId }, 'failed to load a source image')
      return null
    }
  }
  return async (task) => {
    let image: SourceImage | null = null
    const loaded = load(task).then((found) => void (image = found))
    await Promise.race([loaded, pause(WAIT_MS, signal)])
    return image
  }
}

/** Ends early when the signal is aborted. Keeps no process alive. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { ref: false, signal }).catch(() => undefined)
}

/**
 * Returns a function that takes a poll, only if others remain: a callback that has to wait for a poll delays the event of its
 * task. Callers wait in turn. False: too many wait.
 */
function createPollQueue({ budget, signal }: SourceImageOptions): () => Promise<boolean> {
  let waiting = 0
  const inSequence = createSequence()
  const take = async () => {
    while (!signal.aborted && (await budget.take(1, SPARED_POLLS)) === 0) await pause(RETRY_MS, signal)
  }
  return async () => {
    if (waiting >= MAX_WAITING || signal.aborted) return false
    waiting += 1
    await inSequence(take).finally(() => (waiting -= 1))
    return !signal.aborted
  }
}

async function findSourceImage(
  { engines, takePoll, pictures, log, signal }: Finder,
  { engine, sourceTaskId, imageIndex }: SourceOf,
  correlationId: string,
): Promise<SourceImage | null> {
  if (!(await takePoll())) return null
  const read = { timeoutMs: POLL_TIMEOUT_MS, correlationId }
  const urls = await engines.find(engine)?.readSource(sourceTaskId, read)
  if (urls?.length !== IMAGES_OF_GENERATION) return null
  const url = urls[imageIndex]
  if (url === undefined) return null
  const found = await pictures.download(url, signal)
  if (found.kind === 'unusable') {
    log.warn({ correlationId, sourceTaskId, reason: found.reason }, 'a source image could not be inspected')
    return { url, width: null, height: null, thumbhash: null }
  }
  await using picture = found
  const { width, height, thumbhash } = picture.facts
  return { url, width, height, thumbhash }
}
