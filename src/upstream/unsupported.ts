import type { UnsupportedField } from '../tasks/engines/engine-ports.ts'
import type { Picture } from '../tasks/task.ts'

/** Refuses a watermark, for an upstream that has no parameter for it. An empty watermark counts as none. */
export function findWaterMark({ waterMark }: Picture): UnsupportedField | null {
  if (waterMark === null || waterMark === '') return null
  return { field: 'waterMark', reason: 'it cannot add a watermark, so omit it' }
}
