import { setTimeout as pause } from 'node:timers/promises'

/** How long the last answers may take to be sent, and aborted work to release its leases. */
const CUT_OFF_MS = 1_000
/** How long connections may take to close. */
const CLOSE_MS = 3_000

/** The steps of a shutdown, in order. */
interface Shutdown {
  /** How long running work may take, in milliseconds. */
  readonly drainMs: number
  /** Refuses new work from now on. */
  startDraining(): void
  /** Stops the workers. Resolves when the work that they have started has ended. */
  stopWorkers(): Promise<unknown>
  /** Closes the clients' streams within `windowMs` milliseconds; resolves when they are closed. */
  drainClients(windowMs: number): Promise<unknown>
  /** Resolves when all running submits and callbacks have finished. */
  drainTasks(): Promise<unknown>
  /** Aborts running work, which releases its leases while the store is still open. */
  abortWork(): void
  /** Destroys the connections of clients that have not sent a complete request. */
  cutOffClients(): void
  /** Releases everything else. */
  dispose(): Promise<unknown>
}

/**
 * Stops the service: refuses new work, disconnects clients a few at a time, and aborts work that still runs
 * after `drainMs`. Ends within `drainMs` and 5 seconds, even if a server does not answer.
 */
export async function shutDown(service: Shutdown): Promise<void> {
  service.startDraining()
  const stopped = service.stopWorkers()
  const drained = Promise.all([service.drainClients(service.drainMs / 2), service.drainTasks()])
    // Again, for a mutation that a socket has accepted meanwhile.
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
