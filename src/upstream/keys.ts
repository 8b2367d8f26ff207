import type { Clock, Log } from '../tasks/ports.ts'
import type { Dialect } from './dialect.ts'
import { UpstreamClient, type Outcome, type UpstreamRequest } from './http.ts'
import { refusesKey } from './submit-rule.ts'

interface Keys {
  /** The engine that they belong to. */
  readonly name: string
  readonly dialect: Pick<Dialect, 'toHeaders' | 'parseSubmit'>
  /** At least one; in the order in which they are tried. */
  readonly apiKeys: readonly string[]
  readonly clock: Clock
  readonly log: Log
}

/**
 * Sends requests with the key that was accepted last, at first with the first one. If the upstream refuses
 * the key and proves that nothing ran, the same request is sent with each other key, until one is not
 * refused. Disposing aborts running requests.
 */
export class KeyedClient implements Disposable {
  readonly #keys: Keys
  readonly #clients: readonly UpstreamClient[]
  #used = 0
  #disposed = false

  constructor(keys: Keys) {
    this.#keys = keys
    this.#clients = keys.apiKeys.map((key) => new UpstreamClient(keys.dialect.toHeaders(key)))
  }

  /** As UpstreamClient.send. `timeoutMs` limits all attempts together. */
  async send(url: string, request: UpstreamRequest): Promise<Outcome> {
    const { clock } = this.#keys
    const [startedAt, first, clients] = [clock.elapsed(), this.#used, this.#clients]
    let outcome: Outcome = { kind: 'unreachable', cause: 'there is no key' }
    for (const client of [...clients.slice(first), ...clients.slice(0, first)]) {
      const elapsedMs = clock.elapsed() - startedAt
      // A stopping service could not store another answer, and after a late refusal it could come too late.
      if (this.#disposed || elapsedMs > request.timeoutMs / 2) return outcome
      outcome = await client.send(url, { ...request, timeoutMs: request.timeoutMs - elapsedMs })
      if (this.#isRefused(outcome)) continue
      this.#use(clients.indexOf(client), first)
      return outcome
    }
    return outcome
  }

  [Symbol.dispose](): void {
    this.#disposed = true
    for (const client of this.#clients) client[Symbol.dispose]()
  }

  #isRefused(outcome: Outcome): boolean {
    if (outcome.kind !== 'answer') return false
    const { head, body } = outcome
    return refusesKey(this.#keys.dialect, { status: head.status, body, retryAfterMs: null })
  }

  /** Concurrent requests whose key was refused switch once. */
  #use(next: number, first: number): void {
    if (next === first || this.#used !== first) return
    this.#used = next
    const { name: engine, log } = this.#keys
    const positions = { engine, refused: first + 1, used: next + 1 }
    log.warn(positions, 'the upstream refuses a key: the key at another position is used from now on')
  }
}
