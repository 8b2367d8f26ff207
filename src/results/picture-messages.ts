/** The messages between the service and its picture process. They are sent as JSON. */
import type { Proxies } from '../net/proxies.ts'
import type { PictureFacts } from '../tasks/task.ts'
import type { Unusable } from './pictures.ts'

/** The settings of a picture process, in its first message. */
export interface PictureSettings {
  readonly kind: 'open'
  readonly proxies: Proxies
  /** Name servers to use instead of the system's. */
  readonly nameServers: readonly string[]
  /** For temporary files. */
  readonly folder: string
}

export interface DownloadOrder {
  readonly kind: 'download'
  readonly id: number
  readonly url: string
  /** Hosts that may be private: exact names or addresses, optionally with `:port`. */
  readonly allowedHosts: readonly string[]
}

export interface ShrinkOrder {
  readonly kind: 'shrink'
  readonly id: number
  readonly path: string
  /** Where to write the smaller version, a WebP. */
  readonly to: string
  readonly width: number
}

export type Order =
  PictureSettings | DownloadOrder | ShrinkOrder | { readonly kind: 'abort'; readonly id: number }

/** failed: unexpectedly, such as by a full disk. The file of a picture is the receiver's to delete. */
export type Reply =
  | { readonly id: number; readonly kind: 'picture'; readonly path: string; readonly facts: PictureFacts }
  | (Unusable & { readonly id: number })
  | { readonly id: number; readonly kind: 'shrunk'; readonly byteSize: number }
  | { readonly id: number; readonly kind: 'failed'; readonly cause: string }

export interface LogLine {
  readonly kind: 'log'
  readonly level: 'info' | 'warn' | 'error'
  readonly facts: object
  readonly sentence: string
}
