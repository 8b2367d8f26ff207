import { useEffect, useState } from 'preact/hooks'
import { useSession } from '../session.ts'
import { SOURCE, type SourceData, type SourcePicture } from './operations.ts'
import { GALLERY } from './sandbox-sources.ts'

/** The first picture of each source of the gallery; in live mode there is no gallery. */
export function useCovers(): readonly (SourcePicture | null)[] {
  const { config, execute } = useSession()
  const [covers, setCovers] = useState<readonly (SourcePicture | null)[]>(GALLERY.map(() => null))
  useEffect(() => {
    if (config.mode !== 'SANDBOX') return
    const abort = new AbortController()
    const load = async () => {
      // One after another: the gateway limits how many of a caller run at a time.
      for (const [index, { id }] of GALLERY.entries()) {
        const options = { signal: abort.signal, repeat: true }
        const { data } = await execute<SourceData>(SOURCE, { taskId: id }, options)
        if (abort.signal.aborted) return
        const cover = data?.sourceImages?.[0] ?? null
        setCovers((all) => all.with(index, cover))
      }
    }
    void load()
    return () => abort.abort()
  }, [config, execute])
  return covers
}
