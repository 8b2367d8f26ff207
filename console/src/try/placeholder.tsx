import { useMemo } from 'preact/hooks'
import { thumbHashToDataURL } from 'thumbhash'

/** A blurred picture of about 25 bytes: what is seen until the picture has loaded. */
export function Placeholder({ thumbhash }: { thumbhash: string | null }) {
  const url = useMemo(() => thumbhash && toUrl(thumbhash), [thumbhash])
  return url ? <img class="picture-layer" src={url} alt="" /> : null
}

function toUrl(thumbhash: string): string {
  return thumbHashToDataURL(Uint8Array.from(atob(thumbhash), (character) => character.charCodeAt(0)))
}
