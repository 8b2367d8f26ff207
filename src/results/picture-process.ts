import { fork, type ChildProcess } from 'node:child_process'
import { rm } from 'node:fs/promises'
import type { Log } from '../tasks/ports.ts'
import type {
  DownloadOrder,
  LogLine,
  Order,
  PictureSettings,
  Reply,
  ShrinkOrder,
} from './picture-messages.ts'
import type { PictureSource } from './pictures.ts'

/** Makes smaller versions. */
export interface Shrinker {
  /** Writes a smaller WebP of the picture in a file to another file. Resolves to its size in bytes. */
  shrink(path: string, to: string, width: number): Promise<number>
}

interface PictureProcessOptions {
  /** The program of the process: a module. */
  readonly program: URL
  readonly settings: Omit<PictureSettings, 'kind'>
  /** Hosts that may be private: exact names or addresses, optionally with `:port`. Read for each download. */
  readonly allowedHosts: () => readonly string[]
  /** Where a picture is really fetched from. */
  readonly toFetchUrl: (url: string) => string
  readonly log: Log
}

/** Far longer than a download and the decoding of all pictures before it. */
const HANG_MS = 300_000
/** glibc keeps freed memory in each of its arenas. */
const ENVIRONMENT = { MALLOC_ARENA_MAX: '2' }

/**
 * Downloads and decodes pictures in a process of its own, which a hostile picture may crash, fill or block
 * without harm to the service. It has no secrets in its environment except those of the proxies, a lower
 * priority, and is started when it is needed. Disposing ends it.
 */
export function openPictureProcess(options: PictureProcessOptions): PictureSource & Shrinker {
  const { allowedHosts, toFetchUrl, log } = options
  const process = new PictureProcess(options)
  return {
    async download(url, signal) {
      signal.throwIfAborted()
      const order = { kind: 'download', url: toFetchUrl(url), allowedHosts: allowedHosts() } as const
      const reply = await process.run(order, signal)
      if (reply.kind === 'unusable')
        return { kind: reply.kind, reason: reply.reason, permanent: reply.permanent }
      if (reply.kind !== 'picture') throw new Error(toCause(reply))
      const { path, facts } = reply
      return { kind: 'picture', path, facts, [Symbol.asyncDispose]: () => removeFile(path, log) }
    },
    async shrink(path, to, width) {
      const reply = await process.run({ kind: 'shrink', path, to, width })
      if (reply.kind === 'shrunk') return reply.byteSize
      throw new Error(toCause(reply))
    },
    [Symbol.dispose]: () => process[Symbol.dispose](),
  }
}

function toCause(reply: Reply): string {
  if (reply.kind === 'failed') return reply.cause
  return reply.kind === 'unusable' ? reply.reason : `the picture process replied ${reply.kind}`
}

async function removeFile(path: string, log: Log): Promise<void> {
  await rm(path, { force: true }).catch((err: unknown) =>
    log.warn({ err, path }, 'failed to delete a temporary file; it is deleted at a later start'),
  )
}

type Work = DownloadOrder | ShrinkOrder
type Unnumbered<W> = W extends Work ? Omit<W, 'id'> : never

interface Pending {
  readonly order: Work
  readonly resolve: (reply: Reply) => void
  /** Whether the order was sent again after an idle process had ended. */
  isRepeated: boolean
}

class PictureProcess implements Disposable {
  readonly #options: PictureProcessOptions
  readonly #pending = new Map<number, Pending>()
  #child: ChildProcess | undefined
  #lastId = 0
  #isDisposed = false

  constructor(options: PictureProcessOptions) {
    this.#options = options
  }

  /** Resolves to the reply. Rejects with the reason of `signal`, or if the process is closed. */
  async run(work: Unnumbered<Work>, signal?: AbortSignal): Promise<Reply> {
    if (this.#isDisposed) throw new Error('the picture process is closed')
    const id = (this.#lastId += 1)
    const { promise, resolve, reject } = Promise.withResolvers<Reply>()
    const order = { ...work, id } as Work
    this.#pending.set(id, { order, resolve, isRepeated: false })
    const abort = () => {
      this.#pending.delete(id)
      this.#child?.send({ kind: 'abort', id } satisfies Order, () => undefined)
      reject(signal?.reason)
    }
    signal?.addEventListener('abort', abort, { once: true })
    const watchdog = setTimeout(() => this.#child?.kill('SIGKILL'), HANG_MS).unref()
    try {
      this.#send(order)
      return await promise
    } finally {
      clearTimeout(watchdog)
      signal?.removeEventListener('abort', abort)
    }
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true
    this.#child?.kill('SIGKILL')
    this.#failAll('the picture process is closed')
  }

  #send(order: Order): void {
    this.#child ??= this.#start()
    // A process that has ended meanwhile emits `exit`.
    this.#child.send(order, () => undefined)
  }

  #start(): ChildProcess {
    const { program, settings, log } = this.#options
    const child = fork(program, {
      env: ENVIRONMENT,
      execArgv: [],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    // It keeps no process alive: a service that ends does not wait for it.
    child.unref()
    child.channel?.unref()
    child.on('message', (message) => this.#receive(message as Reply | LogLine))
    child.on('error', (err) => {
      log.error({ err }, 'the picture process failed')
      // A process that could not be started emits no `exit`.
      if (child.pid === undefined) this.#onExit(child, null, null)
    })
    child.once('exit', (code, signal) => this.#onExit(child, code, signal))
    child.send({ kind: 'open', ...settings } satisfies Order, () => undefined)
    return child
  }

  #receive(message: Reply | LogLine): void {
    const { log } = this.#options
    if (message.kind === 'log') {
      log[message.level](message.facts, message.sentence)
      return
    }
    const pending = this.#pending.get(message.id)
    this.#pending.delete(message.id)
    if (pending) pending.resolve(message)
    // Aborted meanwhile.
    else if (message.kind === 'picture') void removeFile(message.path, log)
  }

  #onExit(child: ChildProcess, code: number | null, signal: string | null): void {
    if (this.#child === child) this.#child = undefined
    if (this.#isDisposed || this.#pending.size === 0) return
    const isIdleExit = code === 0
    for (const pending of this.#pending.values())
      if (isIdleExit && !pending.isRepeated) {
        // An idle process has ended just when it was needed.
        pending.isRepeated = true
        this.#send(pending.order)
      } else this.#fail(pending, 'the decoder crashed')
    if (!isIdleExit)
      this.#options.log.error({ code, signal }, 'the picture process has crashed; it is restarted')
  }

  #failAll(reason: string): void {
    for (const pending of this.#pending.values()) this.#fail(pending, reason)
  }

  #fail({ order: { id }, resolve }: Pending, reason: string): void {
    this.#pending.delete(id)
    resolve({ id, kind: 'unusable', reason, permanent: false })
  }
}
