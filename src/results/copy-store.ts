/** The port of stores for copies and renditions. test/contract/copy-store.ts tests every implementation. */
import type { Readable } from 'node:stream'

/** A complete local file to store. */
export interface LocalFile {
  readonly path: string
  readonly byteSize: number
  /** In hexadecimal, lower case. */
  readonly sha256: string
  readonly contentType: string
}

/** A range of bytes, both ends inclusive. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

export interface StoredFile {
  /** The bytes of the range, or all bytes. Destroy it if it is not read to the end. */
  readonly body: Readable
  /** The size of the whole file. */
  readonly byteSize: number
}

/** The response of a presigned URL. */
interface PresignOptions {
  readonly contentType: string
  /** Its `Content-Disposition`; null: none. */
  readonly contentDisposition: string | null
  readonly expiresInS: number
}

/**
 * Files under keys such as `ab/abcdef…`. A key always names the same bytes, so `put` is idempotent, also when
 * it is called concurrently. All methods reject if the store cannot be reached or refuses.
 */
export interface CopyStore extends Disposable {
  /**
   * Stores a file, streamed from the disk. Resolves once it is durable. A partly written file is never
   * readable. No effect if the key exists.
   */
  put(key: string, file: LocalFile, signal?: AbortSignal): Promise<void>
  /** Undefined: there is no such file. Rejects if the range is not within the file. */
  read(key: string, range?: ByteRange): Promise<StoredFile | undefined>
  /** Deletes files; keys that do not exist are ignored. */
  remove(keys: readonly string[]): Promise<void>
  /** A URL that serves the file directly; undefined: the store has no such URLs. */
  presign(key: string, options: PresignOptions): Promise<string | undefined>
  /** Rejects with a reason for the operator unless files can be written, read and deleted. */
  check(): Promise<void>
}

/** No `~`: it marks the temporary files of the file store. */
const KEY = /^[\w-]+\/[\w.-]+$/

/** Throws unless the key has the form FOLDER/NAME. */
export function checkKey(key: string): void {
  if (!KEY.test(key) || key.endsWith('/.') || key.includes('..'))
    throw new Error(`${JSON.stringify(key)} is not the key of a copy`)
}

export function checkRange({ start, end }: ByteRange, byteSize: number): void {
  if (start < 0 || start > end || end >= byteSize)
    throw new RangeError(`The range ${start}-${end} is not within the ${byteSize} bytes of the file`)
}

/** Throws if a file was cut off in the store: a client would wait for the missing bytes. */
export function checkComplete({ body, byteSize }: StoredFile, expected: number): void {
  if (byteSize === expected) return
  body.destroy()
  throw new Error(`The store has ${byteSize} instead of ${expected} bytes of a kept copy`)
}
