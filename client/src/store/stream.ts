import { connectionFailed, FollowError } from '../errors.ts'
import type { AnyTask } from '../follow.ts'
import { followTask } from '../follow-task.ts'
import { readOne } from '../results.ts'
import { repeat, wait } from '../retry.ts'
import { submitOnce, type Submitted, type UpscaleImageInput } from '../submit.ts'
import type { ConnectionState, Transport } from '../transport.ts'
import type { Saved } from './saved.ts'
import { toSelection, type UpscaleOptions } from './types.ts'

/** What a client of graphql-ws has beside `iterate`. Its reconnects are its own. */
export type Socket = Transport & {
  on?(event: string, listener: () => void): () => void
  terminate?(): void
}

/** What runs: it ends when the signal aborts. */
export interface Run {
  readonly signal: AbortSignal
  readonly onConnection: (state: ConnectionState) => void
}

export const canceled = () => new FollowError('CANCELLED', 'Canceled before it was sent.')

/**
 * Waits until `notBefore`, and sends the same request until there is an answer.
 * @throws FollowError
 */
export async function sendUpscale<Task extends AnyTask>(
  { client, selection, documents }: UpscaleOptions<Task>,
  input: UpscaleImageInput,
  notBefore: number,
  run: Run,
): Promise<Submitted<Task>> {
  if (notBefore > Date.now()) {
    run.onConnection('waiting')
    await wait(notBefore - Date.now(), run.signal)
  }
  if (run.signal.aborted) throw canceled()
  const fields = { selection: toSelection(selection), document: documents?.submit }
  return repeat(() => {
    run.onConnection('connecting')
    return submitOnce(client, { input, ...fields, ...run })
  }, run)
}

/**
 * Follows a task to its end, also when the client has given up. Each stream begins with the current state,
 * which proves that it is live.
 * @throws FollowError if the task cannot be followed.
 */
export function followUpscale<Task extends AnyTask>(
  { client, selection, documents }: UpscaleOptions<Task>,
  { id = '', watchToken }: Saved,
  { onState, ...run }: Run & { readonly onState: (task: Task) => void },
): Promise<void> {
  for (const state of ['live', 'waiting'] as const) {
    const event = state === 'live' ? 'connected' : 'closed'
    const unlisten = (client as Socket).on?.(event, () => run.onConnection(state))
    if (unlisten) run.signal.addEventListener('abort', unlisten)
  }
  const fields = { selection: toSelection(selection), document: documents?.follow }
  return repeat(async () => {
    for await (const task of followTask<Task>(client, { id, watchToken, ...fields, ...run }))
      if (!run.signal.aborted) onState(task)
    // It has settled with a state that is older than one shown before.
    if (!run.signal.aborted) throw connectionFailed()
  }, run)
}

const CANCEL = 'mutation Cancel($id: ID!) { cancelUpscale(id: $id) { id } }'

/** @throws FollowError if it is too late. */
export async function cancelUpscale(client: Transport, id: string): Promise<void> {
  const request = { query: CANCEL, variables: { id } }
  const { value, error } = await readOne(client, request, { field: 'cancelUpscale' })
  if (!value) throw error
}
