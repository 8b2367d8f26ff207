import { useMemo, useState } from 'preact/hooks'
import { thumbHashToDataURL } from 'thumbhash'
import { Icon } from '../ui/icon.tsx'
import type { TaskImage, TaskStatus } from './task-documents.ts'

/** A picture that needs few bytes: a rendition, if the gateway has a copy. */
export function toSmallUrl({ url, copyState }: TaskImage, width: 256 | 512 | 1024): string {
  if (copyState !== 'KEPT') return url
  const small = new URL(url)
  small.searchParams.set('width', String(width))
  return small.href
}

/** The placeholder of a picture as a URL; null if there is none. */
export function usePlaceholder(thumbhash: string | null): string | null {
  return useMemo(() => {
    if (thumbhash === null) return null
    return thumbHashToDataURL(Uint8Array.from(atob(thumbhash), (character) => character.charCodeAt(0)))
  }, [thumbhash])
}

/** The small picture of a row. A task without one has an icon in its place. */
export function Thumb({ image, status }: { readonly image: TaskImage | null; readonly status: TaskStatus }) {
  const placeholder = usePlaceholder(image?.thumbhash ?? null)
  const [isBroken, setBroken] = useState(false)
  const isFailed = status === 'FAILED'
  return (
    <span
      class={`thumb${isFailed ? ' thumb-failed' : image ? '' : ' thumb-waiting'}`}
      style={placeholder === null ? {} : { backgroundImage: `url(${placeholder})` }}
    >
      {image && !isBroken ? (
        <img
          src={toSmallUrl(image, 256)}
          alt=""
          width="40"
          height="40"
          loading="lazy"
          decoding="async"
          onError={() => setBroken(true)}
        />
      ) : (
        <Icon name={isFailed ? 'warning' : 'image'} />
      )}
    </span>
  )
}
