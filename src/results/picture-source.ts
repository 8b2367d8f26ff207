import { openGuard } from '../net/guard.ts'
import type { Connector } from '../net/outbound.ts'
import type { Clock, Log } from '../tasks/ports.ts'
import type { Decoder } from './decode.ts'
import { createDownload, type DownloadLimits } from './download.ts'
import { createInspect } from './inspect.ts'
import type { PictureSource } from './pictures.ts'
import { createTempFiles } from './temp-files.ts'
import { UnusableError } from './unusable-error.ts'

interface PictureLimits extends DownloadLimits {
  /** Width times height. */
  readonly maxPixels: number
}

interface PictureSourceOptions {
  readonly connector: Connector
  readonly decoder: Decoder
  /** Hosts that may be private: exact names or addresses, optionally with `:port`. Read for each request. */
  readonly allowedHosts: () => readonly string[]
  /** Maps the URL of a picture to the URL to download; default: the same. */
  readonly toFetchUrl?: (url: string) => string
  /** For temporary files; created if missing. */
  readonly folder: string
  readonly clock: Clock
  readonly log: Log
  readonly limits?: Partial<PictureLimits>
}

const LIMITS: PictureLimits = {
  maxBytes: 64 * 1024 * 1024,
  maxRedirects: 3,
  maxPixels: 100_000_000,
  timeoutMs: 30_000,
}

/**
 * Downloads pictures from public addresses and the allowed hosts only. The caller limits how many it
 * downloads at once. An abort does not interrupt decoding. Disposing aborts all downloads; pictures that were
 * returned stay valid.
 */
export function openPictureSource(options: PictureSourceOptions): PictureSource {
  const { connector, decoder, allowedHosts, toFetchUrl = (url) => url, folder, clock, log } = options
  const limits = { ...LIMITS, ...options.limits }
  const newFile = createTempFiles({ folder, clock, log })
  const guard = openGuard(connector, allowedHosts)
  const download = createDownload({ guard, limits, clock })
  const inspect = createInspect(decoder, limits.maxPixels)
  const disposed = new AbortController()
  return {
    async download(url, signal) {
      const ended = AbortSignal.any([signal, disposed.signal])
      ended.throwIfAborted()
      await using opened = new AsyncDisposableStack()
      const { path } = opened.use(await newFile())
      try {
        const measured = await download(toFetchUrl(url), path, ended)
        const facts = { ...measured, ...(await inspect(path, ended)) }
        ended.throwIfAborted()
        const kept = opened.move()
        return { kind: 'picture', path, facts, [Symbol.asyncDispose]: () => kept.disposeAsync() }
      } catch (error) {
        if (!(error instanceof UnusableError)) throw error
        return { kind: 'unusable', reason: error.message, permanent: error.permanent }
      }
    },
    [Symbol.dispose]() {
      disposed.abort(new Error('The picture source was closed'))
      guard[Symbol.dispose]()
    },
  }
}
