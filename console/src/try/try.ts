/** One card of the Try page, as data. */
import type { Failure } from '../failure.ts'
import type { SourcePicture, Task } from './operations.ts'

/** What is asked for one picture. */
export interface TryRequest {
  readonly taskId: string
  readonly imageIndex: number
  readonly waterMark: string
  /** Empty: the gateway chooses. */
  readonly engine: string
  readonly queue: boolean
  /** Pay again even if there is a task for the picture. */
  readonly force: boolean
  readonly sourceImage: SourcePicture | null
}

/** One card: a picture from the press of the button to its result. */
export interface Try {
  readonly key: string
  /** Null after a reload, until the task is known. */
  readonly request: TryRequest | null
  /** By this browser's clock. */
  readonly startedAt: number
  /** Known with the answer to the submit. */
  readonly id: string | null
  readonly task: Task | null
  /** Why it was refused, has failed, or cannot be followed. */
  readonly failure: Failure | null
  /** True: there was a task for the picture already, and nothing was sent. */
  readonly isReplayed: boolean
}

export const isSettled = (task: Task | null): boolean =>
  task?.status === 'SUCCEEDED' || task?.status === 'FAILED'

/** A card that is submitted. */
export type Sent = Try & { readonly request: TryRequest }

export const begin = (key: string, request: TryRequest): Sent => ({
  ...EMPTY,
  key,
  request,
  startedAt: Date.now(),
})

export const EMPTY = { request: null, id: null, task: null, failure: null, isReplayed: false } as const

export function toRequest({ source, imageIndex, waterMark, sourceImage }: Task): TryRequest {
  const options = { engine: '', queue: true, force: false }
  return {
    taskId: source.id,
    imageIndex,
    waterMark: waterMark ?? '',
    sourceImage: sourceImage ?? null,
    ...options,
  }
}
