/**
 * Clients that submit and follow as docs/frontends.md and docs/errors.md say, and note each error that they
 * see.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { createClient, type Client } from 'graphql-ws'
import WebSocket from 'ws'
import { followTask, toClientOptions, type FollowedTask } from '../../client/src/index.ts'
import { randomRetryMs } from '../../client/src/retry.ts'
import { openEventStream } from '../../test/support/event-stream.ts'
import { SeenErrors, type Failure } from './errors.ts'

/** No operation may take longer; milliseconds. */
const PATIENCE_MS = 30_000
/** A stream repeats its state every 15 s. */
const SILENCE_MS = 40_000

const UPSCALE = `mutation ($input: UpscaleImageInput!) { upscaleImage(input: $input) {
  task { id status version problem { code retryable retryAfterMs correlationId } }
  problem { code retryable retryAfterMs correlationId } } }`
const FOLLOW = `subscription ($id: ID!, $afterVersion: Int) { taskUpdated(id: $id, afterVersion: $afterVersion) {
  status version problem { code retryable retryAfterMs correlationId } } }`
const BURST_MS = 300
const SETTLED = ['SUCCEEDED', 'FAILED']

interface Task extends FollowedTask {
  readonly id: string
  readonly problem: Failure | null
}

interface GraphqlResult {
  readonly data?: Readonly<
    Record<string, { readonly task?: Task | null; readonly problem?: Failure | null } | null>
  > | null
  readonly errors?: readonly { readonly extensions?: Failure }[]
}

/** One picture that a client wants, from its submit to its result. */
export interface Upscale {
  readonly source: string
  readonly follows: 'websocket' | 'sse'
  readonly startedAt: number
  submits: number
  /** When the first submit was accepted; null: not yet. */
  acceptedAt: number | null
  settledAt: number | null
  /** SUCCEEDED, or the code of the failure. */
  outcome: string | null
}

export class Clients {
  readonly errors = new SeenErrors()
  readonly upscales: Upscale[] = []
  readonly #pickTarget: () => string
  readonly #running = new Set<Promise<void>>()

  constructor(pickTarget: () => string) {
    this.#pickTarget = pickTarget
  }

  /** Begins so many upscales a second until the signal aborts. */
  async work(perSecond: number, signal: AbortSignal): Promise<void> {
    const startedAt = performance.now()
    for (let count = 0; !signal.aborted; count += 1) {
      await pause(Math.max(0, startedAt + (count * 1_000) / perSecond - performance.now()))
      this.#begin()
    }
  }

  /**
   * Begins so many upscales in a third of a second, so that submits are at each of their steps when it
   * resolves.
   */
  async burst(count: number): Promise<void> {
    for (let begun = 0; begun < count; begun += 1) {
      this.#begin()
      await pause(BURST_MS / count)
    }
  }

  #begin(): void {
    const index = this.upscales.length
    const running = this.#upscale(`source-${index + 1}`, index % 2 === 0 ? 'websocket' : 'sse')
    this.#running.add(running)
    void running.finally(() => this.#running.delete(running))
  }

  /** Whether a client has no result yet. */
  isBusy(): boolean {
    return this.#running.size > 0
  }

  async #upscale(source: string, follows: Upscale['follows']): Promise<void> {
    const startedAt = performance.now()
    const upscale: Upscale = {
      source,
      follows,
      startedAt,
      submits: 0,
      acceptedAt: null,
      settledAt: null,
      outcome: null,
    }
    this.upscales.push(upscale)
    for (let retries = 0; upscale.outcome === null; retries += 1) {
      const task = await this.#submit(upscale)
      if (task === null) {
        await pause(randomRetryMs(Math.min(retries, 2)))
        continue
      }
      upscale.acceptedAt ??= performance.now()
      const last = SETTLED.includes(task.status) ? task : await this.#follow(upscale, task.id)
      const problem = last.problem ?? task.problem
      if (last.status === 'FAILED' && problem?.retryable === true) {
        await pause(this.errors.addTyped(follows, source, problem))
        continue
      }
      upscale.settledAt = performance.now()
      upscale.outcome = last.status === 'FAILED' ? String(problem?.code) : last.status
    }
  }

  /** One submit. Null: it has failed, and the time that its error asks for has passed. */
  async #submit(upscale: Upscale): Promise<Task | null> {
    const { source } = upscale
    upscale.submits += 1
    const input = { taskId: source, imageIndex: 0, idempotencyKey: `key of ${source}` }
    let text: string
    let status: number
    try {
      const response = await fetch(`${this.#pickTarget()}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ query: UPSCALE, variables: { input } }),
        signal: AbortSignal.timeout(PATIENCE_MS),
      })
      status = response.status
      text = await response.text()
    } catch (error) {
      this.errors.addConnectionFailure('http', source, error)
      return null
    }
    const result = parse(text)
    const { task, problem } = result?.data?.upscaleImage ?? {}
    const failure = result?.errors?.[0]?.extensions ?? problem
    if (task) return { ...task, problem: task.problem ?? problem ?? null }
    // The failure of a task is an outcome, not an error.
    if (problem && problem.retryable !== true) return { id: '', version: 0, status: 'FAILED', problem }
    if (failure) await pause(this.errors.addTyped('http', source, failure))
    else this.errors.addUntyped('http', source, `HTTP ${status}`, text.slice(0, 200))
    return null
  }

  #follow(upscale: Upscale, id: string): Promise<Task> {
    return upscale.follows === 'websocket' ? this.#followSocket(upscale, id) : this.#followEvents(upscale, id)
  }

  /** Follows with the client package, which reconnects by itself. */
  async #followSocket({ source }: Upscale, id: string): Promise<Task> {
    const options = toClientOptions({ url: 'ws://replaced' })
    const client = createClient({
      ...options,
      url: async () => {
        if (typeof options.url === 'function') await options.url()
        return `${this.#pickTarget().replace('http', 'ws')}/graphql`
      },
      webSocketImpl: WebSocket,
      on: {
        ...options.on,
        closed: (event) => {
          options.on.closed(event)
          const { code, reason } = event as { code: number; reason: string }
          // 1000: closed by this client.
          if (code !== 1000) this.errors.addClose(source, code, reason)
        },
      },
    })
    try {
      const selection = 'problem { code retryable retryAfterMs correlationId }'
      const seen = { iterate: this.#noteErrors(client, source) }
      for (;;) {
        let last: Task | undefined
        try {
          for await (const task of followTask<Task>(seen, { id, selection })) last = task
        } catch (error) {
          this.errors.addUntyped('websocket', source, 'followTask failed', String(error))
          await pause(randomRetryMs(0))
        }
        if (last && SETTLED.includes(last.status)) return last
      }
    } finally {
      await client.dispose()
    }
  }

  /** `iterate` of the client, which notes the errors of its events. */
  #noteErrors(client: Client, source: string): Client['iterate'] {
    const note = (failures: GraphqlResult['errors']) => {
      for (const { extensions = {} } of failures ?? []) this.errors.addTyped('websocket', source, extensions)
    }
    return (payload) => {
      const events = client.iterate<never, never>(payload)
      const { next } = events
      events.next = async () => {
        try {
          const result = await next.call(events)
          if (result.done !== true) note(result.value.errors)
          return result
        } catch (failure) {
          if (Array.isArray(failure)) note(failure as GraphqlResult['errors'])
          throw failure
        }
      }
      return events
    }
  }

  /** Follows with server-sent events, and subscribes again after the last version when a stream ends. */
  async #followEvents(upscale: Upscale, id: string): Promise<Task> {
    let afterVersion: number | null = null
    for (let retries = 0; ; retries += 1) {
      const { last, waitMs } = await this.#readStream(upscale.source, { id, afterVersion })
      if (last && SETTLED.includes(last.status)) return last
      // A stream after the final version is empty.
      afterVersion = afterVersion === null ? (last?.version ?? null) : null
      if (last) retries = 0
      await pause(waitMs + randomRetryMs(Math.min(retries, 2)))
    }
  }

  /** Reads one stream to its end: its last state, and how long its error asks to wait. */
  async #readStream(
    source: string,
    variables: Record<string, unknown>,
  ): Promise<{ last: Task | undefined; waitMs: number }> {
    let last: Task | undefined
    let waitMs = 0
    const silence = new AbortController()
    try {
      using stream = await openEventStream<GraphqlResult>(this.#pickTarget(), { query: FOLLOW, variables })
      const { response } = stream
      if (!(response.headers.get('content-type') ?? '').startsWith('text/event-stream')) {
        const text = await response.text()
        const failure = parse(text)?.errors?.[0]?.extensions
        if (failure) waitMs = this.errors.addTyped('sse', source, failure)
        else this.errors.addUntyped('sse', source, `HTTP ${response.status}`, text.slice(0, 200))
        return { last, waitMs }
      }
      for (;;) {
        const event = await Promise.race([stream.next(), toSilence(silence.signal)])
        if (event === undefined) throw new Error('the stream was cut off')
        if (event.event === 'complete') return { last, waitMs }
        const { data, errors } = event.data ?? {}
        const failure = errors?.[0]?.extensions
        if (failure) waitMs = this.errors.addTyped('sse', source, failure)
        const task = data?.taskUpdated as Task | null | undefined
        if (task) last = task
      }
    } catch (error) {
      this.errors.addConnectionFailure('sse', source, error)
      return { last, waitMs }
    } finally {
      silence.abort()
    }
  }
}

/** Rejects if no event arrives for too long. */
async function toSilence(signal: AbortSignal): Promise<never> {
  await pause(SILENCE_MS, undefined, { signal })
  throw new DOMException('no event arrived', 'TimeoutError')
}

function parse(text: string): GraphqlResult | undefined {
  try {
    return JSON.parse(text) as GraphqlResult
  } catch {
    return undefined
  }
}
