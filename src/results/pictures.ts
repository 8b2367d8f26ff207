/** The port for downloading and measuring pictures. */
import type { PictureFacts } from '../tasks/task.ts'

/** A picture that cannot be used. */
export interface Unusable {
  readonly kind: 'unusable'
  /** For the log and the task's history, such as `the file is cut off`. Contains no URL and no secret. */
  readonly reason: string
  /** Whether the URL can never give a usable picture: too large, not a raster picture, or status 410. */
  readonly permanent: boolean
}

/** A picture in a temporary file, which is deleted when this is disposed. */
export interface DownloadedPicture extends AsyncDisposable {
  readonly kind: 'picture'
  readonly path: string
  readonly facts: PictureFacts
}

export interface PictureSource extends Disposable {
  /**
   * Downloads a picture to a temporary file, and measures it. Expected faults are values; it rejects only if
   * the local disk fails, or with the reason of `signal`.
   */
  download(url: string, signal: AbortSignal): Promise<DownloadedPicture | Unusable>
}
