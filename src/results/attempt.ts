import type { Clock, Log } from '../tasks/ports.ts'
import type { UpscaledImage, UpscaleTask } from '../tasks/task.ts'
import type { Inspection, Tasks } from '../tasks/tasks.ts'
import type { CopyStore } from './copy-store.ts'
import { toCopyKey } from './copy-keys.ts'
import type { CopyUses } from './jobs.ts'
import type { DownloadedPicture, PictureSource, Unusable } from './pictures.ts'
import { toRetryAt } from './schedule.ts'
import type { LoadSourceImage } from './source-image.ts'

export interface AttemptDependencies {
  readonly tasks: Pick<Tasks, 'inspected'>
  readonly uses: CopyUses
  readonly pictures: PictureSource
  /** Null: no copies are made. */
  readonly copies: CopyStore | null
  readonly loadSource: LoadSourceImage
  readonly clock: Clock
  readonly log: Log
  /** Called with the outcome of each image, for metrics. */
  readonly onResult?: (outcome: string) => void
}

/** What an attempt has found out about an image; `reason`: why it has no facts, or no copy. */
type Found = Inspection['images'][number] & { readonly reason?: string }

const MAX_IMAGES_AT_ONCE = 4

/**
 * Makes one attempt: inspects the images of a task, makes copies, and reports both. At the deadline of the
 * inspection it reports what it has found so far, which settles the task, and continues. Rejects with the
 * reason of `signal`, or if the outcome cannot be stored; the attempt is then due again.
 */
export async function attempt(
  deps: AttemptDependencies,
  task: UpscaleTask,
  signal: AbortSignal,
): Promise<void> {
  const used = new Set<string>()
  try {
    const after = await tryOnce(deps, { task, signal, used })
    if (after !== undefined) used.clear()
  } finally {
    // The task may have been deleted meanwhile (its lease is then lost): its files must go, too.
    for (const sha256 of used) await abandon(deps, sha256)
  }
}

/** Does not reject: the outcome of the attempt counts. */
async function abandon({ uses, log }: AttemptDependencies, sha256: string): Promise<void> {
  await uses
    .abandon(sha256)
    .catch((err: unknown) => log.warn({ err, sha256 }, 'failed to abandon a copy; its file may be left over'))
}

/** Resolves to the task after the change; undefined: there is no such task any more. */
async function tryOnce(
  deps: AttemptDependencies,
  { task, signal, used }: Pick<Step, 'task' | 'signal' | 'used'>,
): Promise<UpscaleTask | undefined> {
  const { tasks, clock, loadSource } = deps
  const images = task.images ?? []
  const off = { copyState: 'OFF' } as const
  const isOff = ({ copyState }: UpscaledImage) => deps.copies === null && copyState === 'PENDING'
  const known = images.map((image, position): Found => ({ ...image, position, ...(isOff(image) && off) }))
  using _timer = startDeadlineTimer(deps, task, known)
  const source = task.sourceImage === null && task.resultAttempts === 0 ? loadSource(task) : undefined
  const open = [...images.entries()].filter(([, image]) => !isFinished(deps, image))
  for (let n = 0; n < open.length; n += MAX_IMAGES_AT_ONCE)
    await Promise.all(
      open.slice(n, n + MAX_IMAGES_AT_ONCE).map(async ([position, image]) => {
        const note = (found: Found) => (known[position] = found)
        const step = { task, position, signal, used, note }
        known[position] = await processImage(deps, image, step)
      }),
    )
  const sourceImage = (await source) ?? task.sourceImage
  signal.throwIfAborted()
  const now = clock.now()
  const retryAt = toRetryAt(task.resultAttempts, now, Math.random())
  const outcome = known.map((found, position) => giveUp(found, images[position], retryAt))
  const after = await tasks.inspected(
    { ...task, sourceImage },
    { images: outcome, retryAt, note: toNote(outcome) },
  )
  for (const [position] of open) deps.onResult?.(outcome[position]?.copyState.toLowerCase() ?? '')
  return after
}

/** Settles the task at the deadline of its inspection, with what is known by then. */
function startDeadlineTimer(
  { tasks, clock, log }: AttemptDependencies,
  task: UpscaleTask,
  known: readonly Found[],
): Disposable | undefined {
  const { id, correlationId, status, dueAt } = task
  if (status === 'SUCCEEDED' || dueAt === null) return undefined
  return clock.after(Math.max(0, dueAt - clock.now()), () => {
    const isInspected = known.every(({ facts }) => facts !== null)
    const note = isInspected ? 'inspected; the copy is not ready yet' : 'not inspected in time'
    tasks
      .inspected(id, { images: known, retryAt: null, note })
      .catch((error: unknown) =>
        log.warn(
          { err: error, taskId: id, correlationId },
          'failed to settle a task at the deadline of its inspection; it is retried',
        ),
      )
  })
}

/** Whether nothing is left to do for an image. */
function isFinished({ copies }: AttemptDependencies, { facts, copyState }: UpscaledImage): boolean {
  return copyState === 'KEPT' || copyState === 'LOST' || (copies === null && facts !== null)
}

interface Step {
  readonly task: UpscaleTask
  readonly position: number
  readonly signal: AbortSignal
  /** The copies that the task uses by now: their files may exist. */
  readonly used: Set<string>
  /** Notes what is known so far, for the deadline. */
  note(found: Found): void
}

/** Downloads, measures and copies one image. */
async function processImage(deps: AttemptDependencies, image: UpscaledImage, step: Step): Promise<Found> {
  const { pictures, copies, clock, log } = deps
  const { task, position, signal } = step
  const facts = { taskId: task.id, correlationId: task.correlationId, position }
  const before = { position, facts: image.facts, copyState: copies === null ? 'OFF' : 'PENDING' } as const
  // Stops retries even if every attempt dies with its process and never reports.
  if (task.status === 'SUCCEEDED' && copies !== null && clock.now() >= image.expiresAt)
    return { ...before, copyState: 'LOST', reason: "the upstream's link has expired" }
  const found = await pictures.download(image.url, signal).catch((error: unknown): Unusable => {
    signal.throwIfAborted()
    log.error({ err: error, ...facts }, 'failed to write a result to the temporary folder')
    return { kind: 'unusable', reason: 'the gateway could not write it to its disk', permanent: false }
  })
  if (found.kind === 'unusable') {
    const { reason, permanent } = found
    log.warn({ ...facts, reason, permanent }, 'a result could not be inspected')
    return { ...before, reason, copyState: permanent && copies !== null ? 'LOST' : before.copyState }
  }
  await using picture = found
  const inspected = { ...before, facts: picture.facts }
  step.note(inspected)
  if (copies === null) return inspected
  try {
    const reason = await storeCopy(deps, copies, picture, step)
    return reason === undefined ? { ...inspected, copyState: 'KEPT' } : { ...inspected, reason }
  } catch (error) {
    signal.throwIfAborted()
    log.warn({ err: error, ...facts }, 'a copy could not be stored; it is retried')
    return { ...inspected, reason: 'the copy could not be stored' }
  }
}

/** Stores a copy. Returns the reason if it cannot be stored now. */
async function storeCopy(
  { uses }: AttemptDependencies,
  copies: CopyStore,
  { path, facts }: DownloadedPicture,
  { task, signal, used }: Step,
): Promise<string | undefined> {
  const { byteSize, sha256, contentType } = facts
  const use = await uses.use(task.id, sha256)
  if (use === 'busy') return 'an older copy of the same bytes is being deleted'
  if (use === 'gone') return 'the task was deleted'
  used.add(sha256)
  await copies.put(toCopyKey(sha256), { path, byteSize, sha256, contentType }, signal)
  return undefined
}

/** A copy that cannot be retried before the upstream's URL expires is lost. */
function giveUp(found: Found, image: UpscaledImage | undefined, retryAt: number): Found {
  const isExpired = image !== undefined && retryAt >= image.expiresAt
  return found.copyState === 'PENDING' && isExpired ? { ...found, copyState: 'LOST' } : found
}

function toNote(found: readonly Found[]): string {
  const reason = found.find((each) => each.reason !== undefined)?.reason
  if (found.some(({ copyState }) => copyState === 'LOST')) return `no copy is kept: ${reason ?? 'unknown'}`
  if (found.some(({ facts }) => facts === null)) return `not inspected: ${reason ?? 'unknown'}`
  if (reason !== undefined) return `inspected; no copy yet: ${reason}`
  return found.every(({ copyState }) => copyState === 'KEPT') ? 'inspected; a copy is kept' : 'inspected'
}
