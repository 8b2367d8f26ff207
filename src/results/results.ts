import type { Engines } from '../tasks/engines/engine-ports.ts'
import type { Clock, Log } from '../tasks/ports.ts'
import type { PollBudget } from '../tasks/rates.ts'
import type { Tasks } from '../tasks/tasks.ts'
import type { Tracing } from '../tasks/tracing.ts'
import type { CopyStore } from './copy-store.ts'
import type { CopyUses, ResultJobs } from './jobs.ts'
import type { ResultLinks } from './links.ts'
import type { Shrinker } from './picture-process.ts'
import type { PictureSource } from './pictures.ts'
import { createRenditions, type Renditions } from './renditions.ts'
import { ResultWorker } from './result-worker.ts'
import { createTempFiles } from './temp-files.ts'
import { createSourceImages, type ListSourceImages, type LoadSourceImage } from './source-image.ts'

/** The operations on results: inspection, copies, links. */
export interface Results extends Disposable {
  readonly links: ResultLinks
  readonly loadSource: LoadSourceImage
  readonly listSources: ListSourceImages
  /** The stored copies; null: no copies are made. */
  readonly copies: CopyStore | null
  /** The renditions of the copies; null: no copies are made. */
  readonly renditions: Renditions | null
  /** Ends the attempts that are running: other processes may make them at once. */
  stop(): void
  /**
   * Deletes an owner's task, its copies and their renditions. Undefined: no such task. False: it has not
   * settled.
   */
  remove(owner: string, id: string): Promise<boolean | undefined>
  /** One round of attempts and deletions. Resolves to the work that it started. */
  inspectDue(): Promise<Promise<void>[]>
}

interface ResultsOptions {
  readonly tasks: Pick<Tasks, 'inspected' | 'remove'>
  readonly jobs: ResultJobs
  readonly uses: CopyUses
  readonly pictures: PictureSource & Shrinker
  readonly copies: CopyStore | null
  readonly links: ResultLinks
  /** A folder for temporary files. */
  readonly folder: string
  readonly engines: Pick<Engines, 'find'>
  readonly budget: Pick<PollBudget, 'take'>
  readonly clock: Clock
  readonly log: Log
  readonly tracing: Tracing
  /** Starts the next round now. */
  readonly wake: () => void
  /** Called with the outcome of each image, for metrics. */
  readonly onResult?: (outcome: string) => void
}

/** Disposing aborts running attempts, which are then due at once for other processes. */
export function openResults(options: ResultsOptions): Results {
  const { tasks, copies, pictures, links, folder, clock, log } = options
  const stopping = new AbortController()
  const { loadSource, listSources } = createSourceImages({ ...options, signal: stopping.signal })
  const worker = new ResultWorker({ ...options, loadSource, stopping: stopping.signal })
  const stop = () => stopping.abort(new Error('the service is stopping'))
  return {
    links,
    loadSource,
    listSources,
    copies,
    renditions: copies && createRenditions(copies, pictures, createTempFiles({ folder, clock, log })),
    async remove(owner, id) {
      const removed = await tasks.remove(owner, id)
      if (removed) worker.deleteSoon()
      return removed
    },
    inspectDue: () => worker.round(),
    stop,
    [Symbol.dispose]: stop,
  }
}
