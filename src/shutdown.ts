import { setTimeout as pause } from 'node:timers/promises'

/** How long answers may take to leave once all work is done, and cut-off work to release its leases. */
const CUT_OFF_MS = 1_000
/** How long connections may take to be closed in good order. */
const CLOSE_MS = 3_000

/** What is stopped, in the order of its use. */
interface Shutdown {
  /** How long running work may take, in milliseconds. */
  readonly drainMs: number
  /** Refuses new work from now on. */
  startDraining(): void
  /** Workers: resolve when what they have started has ended. */
  stopWorkers(): Promise<unknown>
  /** Closes the clients' streams within so many milliseconds; resolves when they are closed. */
  drainClients(windowMs: number): Promise<unknown>
  /** Resolves when all running submits and callbacks have finished. */
  drainTasks(): Promise<unknown>
  /** Aborts what still runs: it releases its leases while the store is still there. */
  abortWork(): void
  /** Destroys the connections of clients that hold one without a whole request. */
  cutOffClients(): void
  /** Releases everything else. */
  dispose(): Promise<unknown>
}

/**
 * Stops the service: no new work; clients go to other replicas a few at a time; running work finishes within `drainMs`,
 * and is aborted then. Ends within `drainMs` and 5 seconds, even if a server does not answer.
 */
export async function shutDown(service: Shutdown): Promise<void> {
  service.startDraining()
  const stopped = service.stopWorkers()
  const drained = Promise.all([service.drainClients(service.drainMs / 2), service.drainTasks()])
    // A mutation that was accepted on a socket meanwhile.
    .then(() => service.drainTasks())
    .then(() => stopped)
  await Promise.race([drained, unrefPause(service.drainMs)])
  service.abortWork()
  await Promise.race([stopped, unrefPause(CUT_OFF_MS)])
  const cut = setTimeout(() => service.cutOffClients(), CUT_OFF_MS)
  await Promise.race([service.dispose(), unrefPause(CLOSE_MS)])
  clearTimeout(cut)
}

function unrefPause(ms: number): Promise<void> {
  return pause(ms, undefined, { ref: false })
}
