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
 * Loads the source image of a task, and stores it with the task. Null: the upstream does not report it, or
 * loading takes longer than a second and continues in the background. Does not reject.
 */
export type LoadSourceImage = (
  task: SourceOf & Pick<UpscaleTask, 'id' | 'correlationId'>,
) => Promise<SourceImage | null>

type SourceOf = Pick<UpscaleTask, 'engine' | 'sourceTaskId' | 'imageIndex'>

/** A source task that an owner asks for. */
type SourceTask = Pick<UpscaleTask, 'owner' | 'engine' | 'sourceTaskId' | 'correlationId'>

/**
 * Lists the four pictures of a source task by image index. Null: the engine does not report them, or does not
 * know the task. `busy`: the polls are used up, or the engine did not respond: retry. `too-many`: the owner
 * has too many of these requests running. A picture that is not measured within a second has no facts yet.
 * Does not reject.
 */
export type ListSourceImages = (
  source: SourceTask,
) => Promise<readonly SourceImage[] | null | 'busy' | 'too-many'>

/**
 * How long an outcome is shared, in milliseconds, so that an unknown source task is not polled at each
 * request.
 */
const SHARED_FOR_MS = 60_000
/** How long a transient failure is shared, in milliseconds. */
const FAILURE_SHARED_FOR_MS = 2_000
const POLL_TIMEOUT_MS = 3_000
const WAIT_MS = 1_000
/** The share of the poll budget that is reserved for callbacks and due tasks: 3 of 5. */
const SPARED_POLLS = 0.6
/** How many source images may wait for a poll. */
const MAX_WAITING = 100
/** The maximum of concurrent lists of one owner, so that other owners get polls. */
const MAX_LISTS_OF_OWNER = 5
/** The timeout of a list, including the wait for a free poll. */
const LIST_WAIT_MS = 5_000
const RETRY_MS = 500
/**
 * A generation has four images. A single image is a grid of the four, which does not contain the source as a
 * file.
 */
const IMAGES_OF_GENERATION = 4

interface Finder {
  /** Finds a source image, and shares its outcome. */
  find(source: SourceOf, correlationId: string): Promise<SourceImage | null>
  /** The URLs of the pictures of a source task, by image index, shared. Null: not known. Busy: retry. */
  readUrls(
    source: Pick<SourceOf, 'engine' | 'sourceTaskId'>,
    correlationId: string,
  ): Promise<readonly string[] | null | 'busy'>
}

interface SourceImages {
  readonly loadSource: LoadSourceImage
  readonly listSources: ListSourceImages
}

export function createSourceImages(options: SourceImageOptions): SourceImages {
  const finder = createFinder(options)
  return { loadSource: createLoader(options, finder), listSources: createLister(options, finder) }
}

function createFinder(options: SourceImageOptions): Finder {
  const { engines, clock } = options
  const takePoll = createPollQueue(options)
  const readUrls = shareCalls<readonly string[] | null | 'busy'>(
    clock,
    SHARED_FOR_MS,
    async (key, correlationId) => {
      const [engine = '', sourceTaskId = ''] = JSON.parse(key) as string[]
      if (!(await takePoll())) return 'busy'
      const urls = await engines
        .find(engine)
        ?.readSource(sourceTaskId, { timeoutMs: POLL_TIMEOUT_MS, correlationId })
      if (urls === 'unavailable') return 'busy'
      return urls?.length === IMAGES_OF_GENERATION ? urls : null
    },
    { ms: FAILURE_SHARED_FOR_MS, includes: (urls) => urls === 'busy' },
  )
  const inspect = createInspection(options)
  const toKey = ({ engine, sourceTaskId }: Pick<SourceOf, 'engine' | 'sourceTaskId'>) =>
    JSON.stringify([engine, sourceTaskId])
  return {
    readUrls: (source, correlationId) => readUrls(toKey(source), correlationId),
    async find(source, correlationId) {
      const urls = await readUrls(toKey(source), correlationId)
      const url = urls === 'busy' ? undefined : urls?.[source.imageIndex]
      if (url === undefined) return null
      const { image } = await inspect(JSON.stringify([source.sourceTaskId, url]), correlationId)
      return image
    },
  }
}

/** Downloads and measures a picture. Its key: the source task and the URL. */
function createInspection({ clock, log, signal, pictures }: SourceImageOptions) {
  return shareCalls(
    clock,
    SHARED_FOR_MS,
    async (key, correlationId) => {
      const [sourceTaskId, url] = JSON.parse(key) as [string, string]
      const found = await pictures.download(url, signal)
      if (found.kind === 'unusable') {
        const { reason, permanent } = found
        log.warn({ correlationId, sourceTaskId, reason }, 'a source image could not be inspected')
        return { image: toBare(url), isFinal: permanent }
      }
      await using picture = found
      const { width, height, thumbhash } = picture.facts
      return { image: { url, width, height, thumbhash }, isFinal: true }
    },
    { ms: FAILURE_SHARED_FOR_MS, includes: ({ isFinal }) => !isFinal },
  )
}

const toBare = (url: string): SourceImage => ({ url, width: null, height: null, thumbhash: null })

function createLoader({ jobs, log, signal }: SourceImageOptions, { find }: Finder): LoadSourceImage {
  const load: LoadSourceImage = async ({ id, correlationId, engine, sourceTaskId, imageIndex }) => {
    try {
      const image = await find({ engine, sourceTaskId, imageIndex }, correlationId)
      if (image !== null) await jobs.saveSource(id, image)
      return image
    } catch (error) {
      log.warn({ err: error, taskId: id, correlationId }, 'failed to load a source image')
      return null
    }
  }
  return (task) => within(WAIT_MS, signal, null, load(task))
}

/** Ends early when the signal is aborted. Keeps no process alive. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { ref: false, signal }).catch(() => undefined)
}

/**
 * Returns a function that takes a poll, only if others remain: a callback that has to wait for a poll delays
 * the event of its task. Callers wait in turn. False: too many wait.
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

function createLister({ signal, log }: SourceImageOptions, { find, readUrls }: Finder): ListSourceImages {
  /** How many lists each owner waits for. */
  const running = new Map<string, number>()
  const readOf = async (source: SourceTask) => {
    const count = (running.get(source.owner) ?? 0) + 1
    if (count > MAX_LISTS_OF_OWNER) return 'too-many' as const
    running.set(source.owner, count)
    try {
      return await readUrls(source, source.correlationId)
    } finally {
      const left = (running.get(source.owner) ?? 1) - 1
      if (left > 0) running.set(source.owner, left)
      else running.delete(source.owner)
    }
  }
  return async (source) => {
    const urls = await within(LIST_WAIT_MS, signal, 'busy' as const, readOf(source))
    if (urls === null || typeof urls === 'string') return urls
    return Promise.all(
      urls.map(async (url, imageIndex) => {
        const found = find({ ...source, imageIndex }, source.correlationId).catch((error: unknown) => {
          log.warn({ err: error, correlationId: source.correlationId }, 'failed to load a source image')
          return null
        })
        return (await within(WAIT_MS, signal, null, found)) ?? toBare(url)
      }),
    )
  }
}

/**
 * Resolves to the result of a promise if it arrives within this time, else to `otherwise`. Does not cancel
 * the work.
 */
async function within<T, V>(
  ms: number,
  signal: AbortSignal,
  otherwise: V,
  promise: Promise<T>,
): Promise<T | V> {
  return Promise.race([promise, pause(ms, signal).then(() => otherwise)])
}
