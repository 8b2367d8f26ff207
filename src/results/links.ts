import { createHmac, timingSafeEqual } from 'node:crypto'
import type { UpscaleTask } from '../tasks/task.ts'

type Linked = Pick<UpscaleTask, 'id' | 'callbackTokenHash'>

/** The links of images. The link of a copy cannot be guessed, and anyone who has it may read the copy. */
export interface ResultLinks {
  /** The URL of an image for clients: the stable link of its copy, otherwise the upstream's URL. */
  toUrl(task: UpscaleTask, position: number): string
  /** Whether `toUrl` gives a stable link. */
  isStable(task: UpscaleTask, position: number): boolean
}

/** `base`: the public URL of this service, without a slash at the end; null: copies are not served. */
export function createResultLinks(base: () => string | null): ResultLinks {
  const findImage = ({ id, images }: UpscaleTask, position: number) => {
    const image = images?.[position]
    if (image === undefined) throw new Error(`Task ${id} has no image ${position}`)
    return image
  }
  return {
    toUrl(task, position) {
      const { copyState, url } = findImage(task, position)
      const from = copyState === 'KEPT' ? base() : null
      return from === null ? url : from + toResultPath(task.id, position, sign(task, position))
    },
    isStable: (task, position) => findImage(task, position).copyState === 'KEPT' && base() !== null,
  }
}

export function toResultPath(taskId: string, position: number | string, signature: string): string {
  return `/results/${taskId}/${position}/${signature}`
}

export function isSignatureValid(task: Linked, position: number, signature: string): boolean {
  const [expected, given] = [Buffer.from(sign(task, position)), Buffer.from(signature)]
  return expected.length === given.length && timingSafeEqual(expected, given)
}

/**
 * The key is stored with the task: links need no setting, are the same on all replicas, and become invalid
 * with their task. It is the digest of a random token that only the upstream knows.
 */
function sign({ callbackTokenHash }: Linked, position: number): string {
  return createHmac('sha256', callbackTokenHash).update(`result ${position}`).digest('base64url')
}
