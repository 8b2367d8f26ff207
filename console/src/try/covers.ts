import { useQuery, useSession } from '../session.ts'
import type { SourcePicture } from './operations.ts'
import { GALLERY } from './sandbox-sources.ts'

/** One operation for all covers of the gallery. */
const COVERS = `{ ${GALLERY.map(
  ({ id }, index) => `cover${index}: sourceImages(taskId: "${id}") { url thumbhash }`,
).join(' ')} }`

/** The first picture of each source of the gallery; in live mode there is no gallery. */
export function useCovers(): readonly (SourcePicture | null)[] {
  const isSandbox = useSession().config.mode === 'SANDBOX'
  const { data } = useQuery<Record<string, readonly (SourcePicture | null)[] | null>>(
    isSandbox ? COVERS : null,
  )
  return GALLERY.map((_, index) => data?.[`cover${index}`]?.[0] ?? null)
}
