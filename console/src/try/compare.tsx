import { useState } from 'preact/hooks'
import type { SourcePicture } from './operations.ts'
import { Picture } from './picture.tsx'

interface CompareProps {
  readonly before: SourcePicture | null
  readonly after: { readonly url: string; readonly thumbhash: string | null }
  readonly alt: string
}

/**
 * The source on the left, the upscale on the right, and a line between them that moves with the pointer or
 * arrow keys.
 */
export function Compare({ before, after, alt }: CompareProps) {
  const [split, setSplit] = useState(50)
  if (!before) return <Picture url={after.url} thumbhash={after.thumbhash} alt={alt} isFramed />
  return (
    <div class="compare" style={{ '--split': `${split}%` }}>
      <div class="compare-side">
        <Picture url={before.url} thumbhash={before.thumbhash} alt="" isFramed />
      </div>
      <div class="compare-side compare-after">
        <Picture url={after.url} thumbhash={after.thumbhash} alt={alt} isFramed />
      </div>
      <span class="compare-tag compare-tag-before" aria-hidden="true">
        Source
      </span>
      <span class="compare-tag compare-tag-after" aria-hidden="true">
        Upscale
      </span>
      <input
        class="compare-range"
        type="range"
        min="0"
        max="100"
        value={split}
        aria-label={`Compare the source and the upscale: ${alt}`}
        aria-valuetext={`${split} % source, ${100 - split} % upscale`}
        onInput={({ currentTarget }) => setSplit(currentTarget.valueAsNumber)}
      />
      <span class="compare-line" aria-hidden="true" />
    </div>
  )
}
