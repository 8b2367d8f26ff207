/** Pictures on their way from the upstream to a copy. */
import type { PictureFacts } from '../tasks/task.ts'

/** A picture that cannot be used. */
export interface Unusable {
  readonly kind: 'unusable'
  /** For the log and the task's history, such as `the file is cut off`. Contains no URL and no secret. */
  readonly reason: string
  /** Whether the same URL will never give a usable picture: too large, or no raster picture by its bytes. */
  readonly permanent: boolean
}

/** A picture in a temporary file, which is deleted when this is disposed. */
export interface DownloadedPicture extends AsyncDisposable {
  readonly kind: 'picture'
  readonly path: string
  readonly facts: PictureFacts
}

/** Downloads pictures and measures them. */
export interface PictureSource extends Disposable {
  /**
   * Downloads a picture to a temporary file, and measures it. Expected faults are values; it rejects only if the local disk
   * fails, or with the reason of `signal`.
   */
  download(url: string, signal: AbortSignal): Promise<DownloadedPicture | Unusable>
}
