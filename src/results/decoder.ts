import { fork, type ChildProcess } from 'node:child_process'
import { setPriority } from 'node:os'
import type { Log } from '../tasks/ports.ts'
import type { Measured, MeasureOrder, Order, Reply, ShrinkOrder } from './decode.ts'
import { UnusableError } from './unusable-error.ts'

/** Decodes pictures. Rejects with UnusableError if a picture is damaged, too large, or crashes the decoder. */
export interface Decoder extends Disposable {
  /** An aborted order is not carried out, if it has not begun. */
  measure(picture: Omit<MeasureOrder, 'kind'>, signal: AbortSignal): Promise<Measured>
  /** Writes a smaller version. Resolves to its size in bytes. */
  shrink(picture: Omit<ShrinkOrder, 'kind'>): Promise<number>
}

/** Below the service, so that decoding delays neither callbacks nor events. */
const NICENESS = 10
/** In tests and in development Node runs the TypeScript itself. */
const PROGRAM = new URL(`decoder-process${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)

interface Exit {
  readonly kind: 'exited'
  readonly code: number | null
  readonly signal: string | null
}

/**
 * Decodes in a process of its own, which a hostile picture may crash, fill or block without harm to the service. It has no
 * secrets in its environment, a lower priority, and is started when it is needed. One picture is decoded at a time: a picture
 * of 100 megapixels can need 400 MB. Disposing ends the process.
 */
export function openDecoder(log: Log): Decoder {
  const disposed = new AbortController()
  let child: ChildProcess | undefined
  let last: Promise<unknown> = Promise.resolve()
  const ask = async (order: Order): Promise<Reply | Exit> => {
    disposed.signal.throwIfAborted()
    child ??= start(log)
    const answer = await send(child, order)
    if (answer.kind === 'exited') child = undefined
    // An idle process has ended just when it was needed.
    return answer.kind === 'exited' && answer.code === 0 ? ask(order) : answer
  }
  const run = async (order: Order, signal?: AbortSignal): Promise<Reply> => {
    const answered = last.then(() => {
      signal?.throwIfAborted()
      return ask(order)
    })
    last = answered.catch(() => undefined)
    const answer = await answered
    disposed.signal.throwIfAborted()
    return check(answer, order, log)
  }
  return {
    async measure(picture, signal) {
      const reply = await run({ kind: 'measure', ...picture }, signal)
      if (reply.kind === 'measured') return reply
      throw new Error(`The decoder has replied ${reply.kind} to measure`)
    },
    async shrink(picture) {
      const reply = await run({ kind: 'shrink', ...picture })
      if (reply.kind === 'shrunk') return reply.byteSize
      throw new Error(`The decoder has replied ${reply.kind} to shrink`)
    },
    [Symbol.dispose]() {
      disposed.abort(new Error('the decoder was closed'))
      child?.kill('SIGKILL')
    },
  }
}

function start(log: Log): ChildProcess {
  const stdio = ['ignore', 'ignore', 'ignore', 'ipc'] as const
  const child = fork(PROGRAM, { env: {}, execArgv: [], stdio: [...stdio] })
  // It keeps no process alive: a service that ends does not wait for it.
  child.unref()
  child.channel?.unref()
  child.on('error', (err) => log.error({ err }, 'the decoder process failed'))
  if (child.pid !== undefined) lowerPriority(child.pid, log)
  return child
}

function lowerPriority(pid: number, log: Log): void {
  try {
    setPriority(pid, NICENESS)
  } catch (err) {
    log.warn({ err }, 'the priority of the decoder process could not be lowered')
  }
}

/** Resolves to the reply, or to how the process has ended instead. */
function send(child: ChildProcess, order: Order): Promise<Reply | Exit> {
  return new Promise((resolve) => {
    const finish = (answer: Reply | Exit) => {
      child.off('message', onMessage).off('exit', onExit).off('error', onError)
      resolve(answer)
    }
    const onMessage = (message: unknown) => finish(message as Reply)
    const onExit = (code: number | null, signal: string | null) => finish({ kind: 'exited', code, signal })
    const onError = () => finish({ kind: 'exited', code: null, signal: null })
    child.on('message', onMessage).on('exit', onExit).on('error', onError)
    if (child.exitCode !== null || child.signalCode !== null) onExit(child.exitCode, child.signalCode)
    // A process that has ended meanwhile emits `exit`.
    else child.send(order, () => undefined)
  })
}

function check(answer: Reply | Exit, { maxPixels }: Order, log: Log): Reply {
  switch (answer.kind) {
    case 'measured':
    case 'shrunk':
      return answer
    case 'tooLarge': {
      const [found, allowed] = [answer.pixels, maxPixels].map((each) => Math.ceil(each / 1e6))
      throw new UnusableError(`the picture has ${found} megapixels; ${allowed} are allowed`, true)
    }
    case 'failed':
      log.warn({ cause: answer.cause }, 'a picture could not be decoded')
      throw new UnusableError('the picture is damaged or cut off', false)
    case 'exited':
      log.error(
        { code: answer.code, signal: answer.signal },
        'the decoder process has crashed; it is restarted',
      )
      throw new UnusableError('the decoder crashed', false)
    default:
      return answer satisfies never
  }
}
