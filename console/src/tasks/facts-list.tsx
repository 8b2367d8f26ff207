import type { ComponentChildren } from 'preact'
import { toBytes, toDuration } from '../ui/format.ts'
import { Time } from '../ui/time.tsx'
import { toAmount, toRelative } from './formats.ts'
import type { OpenImage, OpenTask } from './task-documents.ts'
import { useNow } from './use-now.ts'

/** What is known about a task, besides its pictures and its history. */
export function FactsList({ task }: { readonly task: OpenTask }) {
  const { engine, waterMark, creditsConsumed, createdAt, settledAt, deadlineAt, queue } = task
  const now = useNow()
  return (
    <dl class="task-facts">
      <Fact name="Image index">{task.imageIndex}</Fact>
      <Fact name="Engine">{engine}</Fact>
      <Fact name="Cost">
        {creditsConsumed === null ? 'not reported' : `${toAmount(creditsConsumed)} credits`}
      </Fact>
      {waterMark !== null && waterMark !== '' && <Fact name="Watermark">{waterMark}</Fact>}
      {task.images?.map((image) => (
        <ImageFacts key={image.originalUrl} image={image} now={now} />
      ))}
      {queue && (
        <Fact name="Queue">
          position {queue.position}
          {queue.estimatedStartAt !== null && `, sent ${toRelative(queue.estimatedStartAt, now)}`}
        </Fact>
      )}
      <Instant name="Submitted" at={createdAt} now={now} />
      {task.estimatedDoneAt !== null && <Instant name="Estimate" at={task.estimatedDoneAt} now={now} />}
      {settledAt === null ? (
        <Instant name="Deadline" at={deadlineAt} now={now} />
      ) : (
        <Fact name="Settled">
          <Time at={settledAt} />
          <span>after {toDuration(Date.parse(settledAt) - Date.parse(createdAt))}</span>
        </Fact>
      )}
      <Fact name="Changed">
        <Time at={task.updatedAt} />
        <span>version {task.version}</span>
      </Fact>
    </dl>
  )
}

const COPIES: Readonly<Record<OpenImage['copyState'], string>> = {
  PENDING: 'not made yet',
  KEPT: 'kept until the task is deleted',
  LOST: 'could not be made',
  OFF: 'this gateway keeps none',
}

function ImageFacts({ image, now }: { readonly image: OpenImage; readonly now: number }) {
  const { width, height, byteSize, contentType, enlargement, expiresAt, copyState } = image
  return (
    <>
      {width !== null && height !== null && (
        <Fact name="Picture">
          <span>
            {width} × {height}
          </span>
          {contentType !== null && <span>{contentType.replace('image/', '').toUpperCase()}</span>}
          {byteSize !== null && <span>{toBytes(byteSize)}</span>}
          {enlargement !== null && <span>{toAmount(enlargement)}× the source</span>}
        </Fact>
      )}
      <Fact name="Copy">{COPIES[copyState]}</Fact>
      {expiresAt !== null && <Instant name="Link expires" at={expiresAt} now={now} />}
    </>
  )
}

function Instant({ name, at, now }: { readonly name: string; readonly at: string; readonly now: number }) {
  return (
    <Fact name={name}>
      <Time at={at} />
      <span>{toRelative(at, now)}</span>
    </Fact>
  )
}

function Fact({ name, children }: { readonly name: string; readonly children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  )
}
