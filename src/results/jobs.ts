/** The ports of durable work on results: attempts, and copies in use. Instants are Unix milliseconds. */
import type { SourceImage, UpscaleTask } from '../tasks/task.ts'

/**
 * The attempts to inspect and copy the images of tasks. The first attempt becomes due in the transaction that
 * stores the result, so a crash loses none.
 */
export interface ResultJobs {
  /**
   * Claims up to `limit` tasks whose attempt is due, longest due first, and leases them until `leaseUntil`.
   * Concurrent claims never get the same task. If the claimer dies, its tasks are due again at `leaseUntil`.
   * Tolerates a clock that was set back: a task that is due more than `latestMs` after `now` is due at once.
   */
  claimDue(now: number, leaseUntil: number, limit: number, latestMs: number): Promise<UpscaleTask[]>
  /**
   * Moves the end of a lease, or ends it early. False: the lease is lost, or the attempt has been reported.
   */
  moveLease(id: string, leaseUntil: number, nextUntil: number): Promise<boolean>
  /** Up to `limit` tasks that still wait for an inspection past its deadline. */
  listOverdue(now: number, limit: number): Promise<UpscaleTask[]>
  /** Stores the source image of a task. Does not change its version. */
  saveSource(id: string, sourceImage: SourceImage): Promise<void>
}

/**
 * Counts which tasks use which copies: the same bytes are stored once, for any number of tasks. A copy that
 * no task uses any more is UNUSED; its files are deleted, then its entry.
 */
export interface CopyUses {
  /**
   * Commits that a task uses a copy; call it before storing the file. busy: the files of this copy are being
   * deleted, retry later. gone: the task does not exist any more.
   */
  use(taskId: string, sha256: string): Promise<'used' | 'busy' | 'gone'>
  /**
   * Marks a copy UNUSED if no task uses it: for a file that was stored after its task had been deleted. If
   * its files are being deleted, they are deleted once more when that lease ends.
   */
  abandon(sha256: string): Promise<void>
  /** Claims up to `limit` unused copies, to delete their files before `leaseUntil`. */
  claimUnused(now: number, leaseUntil: number, limit: number): Promise<string[]>
  /** Deletes the entry of an unused copy, once its files are deleted. No effect if the lease is lost. */
  forget(sha256: string, leaseUntil: number): Promise<void>
}
