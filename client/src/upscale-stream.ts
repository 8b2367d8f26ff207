import { toTransportError, type FollowError } from './errors.ts'
import type { AnyTask, ConnectionState } from './follow.ts'
import { followTask } from './follow-task.ts'
import { randomRetryMs, wait } from './retry.ts'
import type { Transport } from './transport.ts'
import { SELECTION, type UpscaleOptions, type UpscaleSnapshot } from './upscale-types.ts'

/** What a client of graphql-ws has beside `iterate`. Its reconnects are its own. */
export type Socket = Transport & {
  on?(event: string, listener: () => void): () => void
  terminate?(): void
}

const SOCKET_EVENTS = { connecting: 'connecting', connected: 'live', closed: 'waiting' } as const

interface Stream<Task> {
  readonly id: string
  readonly watchToken: string | null | undefined
  readonly signal: AbortSignal
  readonly onState: (task: Task) => void
  readonly onConnection: (state: ConnectionState) => void
}

/**
 * Follows a task until the signal aborts, also when the client has given up. Each stream begins with the current state, which
 * proves that it is live. Nothing is called after the abort. Resolves with the error if the task cannot be followed.
 */
export async function followUpscale<Task extends AnyTask>(
  { client, selection = '', documents }: UpscaleOptions<Task>,
  { id, watchToken, signal, onState, onConnection }: Stream<Task>,
): Promise<FollowError | undefined> {
  const report = (connection: ConnectionState) => {
    if (!signal.aborted) onConnection(connection)
  }
  for (const [event, connection] of Object.entries(SOCKET_EVENTS)) {
    const unlisten = (client as Socket).on?.(event, () => report(connection))
    if (unlisten) signal.addEventListener('abort', unlisten)
  }
  const fields = { selection: `${SELECTION} ${selection}`, document: documents?.follow }
  const request = { id, watchToken, ...fields, onConnection: report, signal }
  for (let retries = 0; !signal.aborted; retries += 1) {
    try {
      for await (const task of followTask<Task>(client, request)) {
        retries = 0
        onState(task)
      }
    } catch (failure) {
      const error = toTransportError(failure)
      if (error.code !== 'CONNECTION_FAILED') return error
    }
    report('waiting')
    await wait(randomRetryMs(retries), signal)
  }
  return undefined
}

/** The first state of the task that is followed. */
export function readFirst<Task extends AnyTask>(
  listeners: Set<() => void>,
  getSnapshot: () => UpscaleSnapshot<Task>,
): Promise<Task> {
  return new Promise((resolve, reject) => {
    const look = () => {
      const { task, problem } = getSnapshot()
      if (task) resolve(task)
      else if (problem) reject(toTransportError(problem))
      else return
      listeners.delete(look)
    }
    listeners.add(look)
    look()
  })
}
