import { useState } from 'preact/hooks'
import { Icon } from '../ui/icon.tsx'
import { LinkButton } from '../ui/button.tsx'
import { Spinner } from '../ui/spinner.tsx'
import type { OpenTask } from './task-documents.ts'
import { isSettled } from './deliveries.ts'
import { toSmallUrl, usePlaceholder } from './thumb.tsx'

/** The source picture and the result. Their frames have the same size from the beginning. */
export function TaskPictures({ task }: { readonly task: OpenTask }) {
  const { sourceImage, images } = task
  const results = images ?? []
  return (
    <div class="task-pictures">
      <Frame
        name="Source"
        url={sourceImage?.url ?? null}
        thumbhash={sourceImage?.thumbhash ?? null}
        missing="not reported"
      />
      {results.map((image, index) => (
        <Frame
          key={image.originalUrl}
          name={results.length === 1 ? 'Result' : `Result ${index + 1}`}
          url={toSmallUrl(image, 1024)}
          thumbhash={image.thumbhash}
          fullUrl={image.url}
          missing="not available"
        />
      ))}
      {results.length === 0 && (
        <Frame
          name="Result"
          url={null}
          thumbhash={null}
          missing={isSettled(task) ? 'none' : null}
          isWaiting={!isSettled(task)}
        />
      )}
    </div>
  )
}

interface FrameProps {
  readonly name: string
  readonly url: string | null
  readonly thumbhash: string | null
  /** What stands in the place of a picture. */
  readonly missing: string | null
  readonly fullUrl?: string
  readonly isWaiting?: boolean
}

function Frame({ name, url, thumbhash, missing, fullUrl, isWaiting = false }: FrameProps) {
  const placeholder = usePlaceholder(thumbhash)
  const [brokenUrl, setBrokenUrl] = useState<string | null>(null)
  const isShown = url !== null && url !== brokenUrl
  return (
    <figure class="task-picture">
      <div
        class="task-picture-frame"
        style={{ backgroundImage: placeholder === null ? 'none' : `url(${placeholder})` }}
      >
        {isShown && (
          <img src={url} alt={`${name} picture`} decoding="async" onError={() => setBrokenUrl(url)} />
        )}
        {!isShown && (
          <span class="task-picture-missing">
            {isWaiting ? <Spinner /> : <Icon name="image" size={20} />}
            {isWaiting ? 'in progress' : missing}
          </span>
        )}
      </div>
      <figcaption>
        {name}
        {fullUrl !== undefined && isShown && (
          <LinkButton
            variant="ghost"
            size="small"
            icon="external"
            label="Open the picture"
            href={fullUrl}
            isExternal
          />
        )}
      </figcaption>
    </figure>
  )
}
