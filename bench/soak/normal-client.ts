/** A client that does nothing unusual, and how long the service lets it wait. */
import { setTimeout as pause } from 'node:timers/promises'
import { createClient } from 'graphql-ws'
import { Agent, fetch, type RequestInit } from 'undici'
import { WebSocket } from 'ws'

const QUERY_EVERY_MS = 100
const TASK_EVERY_MS = 2_000
/** An answer that takes longer counts as an error. */
const PATIENCE_MS = 5_000

export type Step = 'query' | 'mutation' | 'first event' | 'livez'

export class NormalClient {
  readonly times: Record<Step, number[]> = { query: [], mutation: [], 'first event': [], livez: [] }
  /** Messages of failed steps, and how often each came. */
  readonly errors = new Map<string, number>()
  readonly #url: string
  readonly #connections = new Agent()

  constructor(url: string) {
    this.#url = url
  }

  /**
   * Works until the signal comes: a query and a health check each 100 ms, a task that is followed each 2 s.
   */
  async work(signal: AbortSignal): Promise<void> {
    const socket = createClient({
      url: `${this.#url.replace('http', 'ws')}/graphql`,
      webSocketImpl: WebSocket,
      lazy: false,
    })
    const { id } = await this.submit()
    const under = new Set<Promise<void>>()
    const start = (step: Step, task: () => Promise<unknown>) => {
      const work = this.#time(step, task).finally(() => under.delete(work))
      under.add(work)
    }
    for (let n = 0; !signal.aborted; n += 1) {
      const begun = performance.now()
      start('query', () => this.#run('query ($id: ID!) { upscaleTask(id: $id) { status version } }', { id }))
      start('livez', () => this.#fetch('/livez', {}))
      if (n % (TASK_EVERY_MS / QUERY_EVERY_MS) === 0)
        start('mutation', async () => {
          const task = await this.submit()
          start('first event', () => follow(socket, task.id))
        })
      await pause(Math.max(0, QUERY_EVERY_MS - (performance.now() - begun)))
    }
    await Promise.all(under)
    await socket.dispose()
  }

  /** Closes its connections. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#connections.close()
  }

  async submit(): Promise<{ id: string; watchToken: string }> {
    const query =
      'mutation { upscaleImage(input: { taskId: "normal", imageIndex: 0, force: true }) { task { id } watchToken } }'
    const { data } = (await this.#run(query, {})) as {
      data: { upscaleImage: { task: { id: string }; watchToken: string } }
    }
    return { id: data.upscaleImage.task.id, watchToken: data.upscaleImage.watchToken }
  }

  async #time(step: Step, task: () => Promise<unknown>): Promise<void> {
    const begun = performance.now()
    try {
      await task()
      this.times[step].push(performance.now() - begun)
    } catch (error) {
      const message = `${step}: ${String(error).slice(0, 200)}`
      this.errors.set(message, (this.errors.get(message) ?? 0) + 1)
    }
  }

  async #run(query: string, variables: object): Promise<unknown> {
    const headers = { 'content-type': 'application/json' }
    const body = JSON.stringify({ query, variables })
    const result = JSON.parse(await this.#fetch('/graphql', { method: 'POST', headers, body })) as {
      errors?: { message: string }[]
    }
    if (result.errors) throw new Error(result.errors[0]?.message)
    return result
  }

  async #fetch(path: string, init: RequestInit): Promise<string> {
    const signal = AbortSignal.timeout(PATIENCE_MS)
    const response = await fetch(this.#url + path, { ...init, signal, dispatcher: this.#connections })
    if (!response.ok) throw new Error(`${path} was answered with ${response.status}`)
    return response.text()
  }
}

/** Resolves with the first event of a task's subscription, and lets the subscription run to its end. */
function follow(socket: ReturnType<typeof createClient>, id: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const query = 'subscription ($id: ID!) { taskUpdated(id: $id) { status version } }'
  socket.subscribe(
    { query, variables: { id } },
    {
      next: () => resolve(),
      error: (error) => reject(new Error(JSON.stringify(error))),
      complete: () => reject(new Error('completed without an event')),
    },
  )
  const timer = setTimeout(() => reject(new Error('no event came')), PATIENCE_MS)
  return promise.finally(() => clearTimeout(timer))
}
