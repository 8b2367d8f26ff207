import { useEffect, useState } from 'preact/hooks'
import { StatusPill } from '../ui/badge.tsx'
import { Button, LinkButton } from '../ui/button.tsx'
import { CopyButton } from '../ui/copy-button.tsx'
import { ErrorNote } from '../ui/error-note.tsx'
import { toDuration } from '../ui/format.ts'
import { Icon } from '../ui/icon.tsx'
import { useAnnounce } from '../ui/live.tsx'
import { Compare } from './compare.tsx'
import { Facts } from './facts.tsx'
import type { Task, UpscaledPicture } from './operations.ts'
import { Picture, toReachable } from './picture.tsx'
import type { Tries } from './tries.ts'
import type { Try } from './try.ts'

interface TryCardProps {
  readonly item: Try
  readonly tries: Tries
}

/** One upscale: from the blurred source to the picture, or to the reason why there is none. */
export function TryCard({ item, tries }: TryCardProps) {
  const { task, failure, request } = item
  const name = toName(item)
  const picture = task?.images?.[0] ?? null
  const isDone = task?.status === 'SUCCEEDED' || failure !== null
  const elapsedMs = useElapsed(item, isDone)
  useStatusAnnouncement(`${name}: ${toStatusText(item)}`)
  const source = task?.sourceImage ?? request?.sourceImage ?? null
  return (
    <li class="try-card" data-status={toStatus(item)} data-task={item.id}>
      <div class="try-media">
        {!source && !picture && <Icon name="image" size={28} />}
        {picture ? (
          <Compare before={source} after={toShown(picture)} alt={`${name}, upscaled`} />
        ) : (
          source && <Picture {...source} alt={`${name}, source`} isBlurred isFramed />
        )}
        <div class="try-status">
          <StatusPill status={toStatus(item)} text={toStatusText(item)} />
          {item.isReplayed && (
            <span
              class="badge badge-neutral"
              title="There was a task for this picture: nothing was sent or charged"
            >
              Replayed
            </span>
          )}
        </div>
        {!isDone && <Progress task={task} />}
      </div>
      <div class="try-body">
        <div class="try-line">
          <h3 title={name}>{name}</h3>
          <span class="try-elapsed numbers">{toDuration(elapsedMs)}</span>
        </div>
        {failure ? (
          <ErrorNote failure={failure} {...(canRetry(item) && { onRetry: () => tries.retry(item.key) })} />
        ) : (
          <>
            <Facts picture={picture} />
            <Actions item={item} tries={tries} picture={picture} />
          </>
        )}
      </div>
    </li>
  )
}

function Actions({ item, tries, picture }: TryCardProps & { picture: UpscaledPicture | null }) {
  const { task } = item
  if (!picture)
    return (
      <div class="try-actions">
        {task?.queue ? (
          <Button size="small" icon="cross" onClick={() => tries.cancel(item.key)}>
            Cancel
          </Button>
        ) : (
          <span class="try-hint">{toEstimate(task)}</span>
        )}
      </div>
    )
  const url = toReachable(picture.url)
  const file = picture.copyState === 'KEPT' ? `${url}?download` : url
  return (
    <div class="try-actions">
      <LinkButton size="small" icon="external" href={url} isExternal>
        Open
      </LinkButton>
      <CopyButton value={picture.url} label="Copy the link" text="Link" />
      <LinkButton size="small" icon="download" href={file} download="">
        Download
      </LinkButton>
    </div>
  )
}

/** Moves with the estimate; without one it only says that something happens. */
function Progress({ task }: { task: Task | null }) {
  const now = useNow(task?.estimatedDoneAt != null)
  if (task?.estimatedDoneAt == null) return <div class="try-progress is-unknown" />
  const [from, to] = [Date.parse(task.createdAt), Date.parse(task.estimatedDoneAt)]
  const share = Math.min(0.96, Math.max(0.02, (now - from) / (to - from)))
  return <div class="try-progress" style={{ '--share': share }} />
}

/** A kept picture has renditions: a card needs no more pixels than it shows. */
function toShown({ url, copyState, width, thumbhash }: UpscaledPicture) {
  const isLarge = copyState === 'KEPT' && (width ?? 0) > 1024
  return { url: isLarge ? `${url}?width=1024` : url, thumbhash }
}

function toName({ task, request, id }: Try): string {
  const source = task?.source.id ?? request?.taskId
  const index = task?.imageIndex ?? request?.imageIndex ?? 0
  return source === undefined ? `Task ${id ?? ''}` : `${source} · ${index + 1}`
}

function toStatus({ task, failure }: Try) {
  return failure ? 'FAILED' : (task?.status ?? 'SUBMITTED')
}

function toStatusText({ task, failure, id }: Try): string {
  if (failure && task?.status !== 'FAILED') return id === null ? 'Refused' : 'Not followed'
  if (!task) return id === null ? 'Sending' : 'Loading'
  if (task.queue) return `Waiting, number ${task.queue.position}`
  return { SUBMITTED: 'Submitted', PROCESSING: 'Processing', SUCCEEDED: 'Done', FAILED: 'Failed' }[
    task.status
  ]
}

function toEstimate(task: Task | null): string {
  if (task?.estimatedDoneAt == null) return ''
  const leftMs = Date.parse(task.estimatedDoneAt) - Date.now()
  return leftMs > 0 ? `Usually done within ${toDuration(leftMs)}` : 'Usually done by now'
}

function canRetry({ failure, task, id }: Try): boolean {
  return (
    failure?.retryable === true || failure?.code === 'CANCELLED' || (id !== null && task?.status !== 'FAILED')
  )
}

function useElapsed({ task, startedAt }: Try, isDone: boolean): number {
  const now = useNow(!isDone)
  const [stoppedAt, setStoppedAt] = useState<number | null>(null)
  useEffect(() => setStoppedAt(isDone ? Date.now() : null), [isDone])
  if (task?.settledAt != null) return Date.parse(task.settledAt) - Date.parse(task.createdAt)
  const from = task ? Math.min(startedAt, Date.parse(task.createdAt)) : startedAt
  return (stoppedAt ?? now) - from
}

const TICK_MS = 100

function useNow(isRunning: boolean): number {
  const [now, setNow] = useState(() => Date.now())
  useEffect(() => {
    if (!isRunning) return
    const timer = setInterval(() => setNow(Date.now()), TICK_MS)
    return () => clearInterval(timer)
  }, [isRunning])
  return now
}

function useStatusAnnouncement(text: string): void {
  const announce = useAnnounce()
  useEffect(() => announce(text), [announce, text])
}
