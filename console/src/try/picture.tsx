import { useState } from 'preact/hooks'
import { Placeholder } from './placeholder.tsx'

interface PictureProps {
  readonly url: string
  readonly thumbhash: string | null
  readonly alt: string
  readonly isBlurred?: boolean
  /** Fills what the picture leaves empty of its parent with the picture, blurred. */
  readonly isFramed?: boolean
}

/** A picture over its placeholder. It fills its parent, and appears when it has loaded. */
export function Picture({ url, thumbhash, alt, isBlurred = false, isFramed = false }: PictureProps) {
  const [loaded, setLoaded] = useState<string | null>(null)
  const state = loaded === url ? 'is-loaded' : ''
  return (
    <>
      <Placeholder thumbhash={thumbhash} />
      {isFramed && loaded === url && (
        <img class="picture-layer picture-frame" src={toReachable(url)} alt="" />
      )}
      <img
        class={`picture-layer picture ${state} ${isBlurred ? 'is-blurred' : ''}`}
        src={toReachable(url)}
        alt={alt}
        decoding="async"
        onLoad={() => setLoaded(url)}
      />
    </>
  )
}

const LOOPBACK = ['localhost', '127.0.0.1', '[::1]']

/** `localhost` and `127.0.0.1` are the same server, but different origins for the content security policy. */
export function toReachable(url: string): string {
  const parsed = new URL(url, location.href)
  const isSame = LOOPBACK.includes(parsed.hostname) && LOOPBACK.includes(location.hostname)
  return isSame && parsed.port === location.port ? url.replace(parsed.origin, location.origin) : url
}
