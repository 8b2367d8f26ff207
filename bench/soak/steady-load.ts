/** The load of the steady soak: tasks that are called back, and a socket that follows each fifth of them. */
import { createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import type { Target } from '../load-target.ts'
import { atRate } from '../replica.ts'

const TASKS_PER_SECOND = 100
const TASKS_PER_SOCKET = 5
const PATIENCE_MS = 30_000

export interface SteadyLoad {
  callbacks: number
  sockets: number
  /** Messages of what failed, and how often. */
  readonly errors: Map<string, number>
}

/**
 * Each task is submitted and called back; for each fifth one a socket connects, gets both events, and
 * disconnects.
 */
export async function loadSteadily(target: Target, minutes: number, load: SteadyLoad): Promise<void> {
  await atRate(TASKS_PER_SECOND, TASKS_PER_SECOND * 60 * minutes, async (n) => {
    try {
      const { id, callBack } = await target.submit()
      const events = n % TASKS_PER_SOCKET === 0 ? await follow(target.url, id) : undefined
      const { status } = await callBack()
      if (status !== 200) throw new Error(`A callback was answered with ${status}`)
      load.callbacks += 1
      if (events === undefined) return
      await events.ended
      load.sockets += 1
    } catch (error) {
      const message = String(error).slice(0, 200)
      load.errors.set(message, (load.errors.get(message) ?? 0) + 1)
    }
  })
}

/**
 * Resolves with the first event; `ended` resolves when the subscription has shown the result and its socket
 * is closed.
 */
async function follow(url: string, id: string): Promise<{ readonly ended: Promise<void> }> {
  const first = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<void>()
  const seen: string[] = []
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    retryAttempts: 0,
  })
  const fail = (error: unknown) => {
    const failure =
      error instanceof Error ? error : new Error(`A subscription failed: ${JSON.stringify(error)}`)
    first.reject(failure)
    ended.reject(failure)
  }
  client.subscribe<{ taskUpdated: { status: string } }>(
    {
      query: 'subscription ($id: ID!) { taskUpdated(id: $id) { id status version images { url } } }',
      variables: { id },
    },
    {
      next: ({ data }) => {
        seen.push(data?.taskUpdated.status ?? 'an error')
        first.resolve()
      },
      error: fail,
      complete: () => {
        if (seen.at(-1) === 'SUCCEEDED') ended.resolve()
        else fail(new Error(`A subscription ended after ${seen.join(', ')}`))
      },
    },
  )
  const timer = setTimeout(() => fail(new Error(`No end after ${seen.join(', ')}`)), PATIENCE_MS)
  void ended.promise
    .catch(() => undefined)
    .then(() => {
      clearTimeout(timer)
      return client.dispose()
    })
  await first.promise
  return { ended: ended.promise }
}
