import { useState } from 'preact/hooks'
import type { Failure } from '../failure.ts'
import { useSession } from '../session.ts'
import { Badge, type Tone } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { ErrorNote } from '../ui/error-note.tsx'
import { useAnnounce } from '../ui/live.tsx'
import { isSettled, toDeliveryText } from './deliveries.ts'
import { toRelative } from './formats.ts'
import { REDELIVER, type Delivery, type OpenTask } from './task-documents.ts'
import { useNow } from './use-now.ts'

interface DeliveriesSectionProps {
  readonly task: OpenTask
  readonly apply: (change: Partial<OpenTask>) => void
}

/** The deliveries to the callback URLs of a task. */
export function DeliveriesSection({ task, apply }: DeliveriesSectionProps) {
  const { execute } = useSession()
  const announce = useAnnounce()
  const now = useNow()
  const [isBusy, setBusy] = useState(false)
  const [failure, setFailure] = useState<Failure | null>(null)
  const redeliver = async () => {
    setBusy(true)
    const { data, failures } = await execute<{ redeliverCallbacks: Pick<OpenTask, 'callbacks'> | null }>(
      REDELIVER,
      { id: task.id },
    )
    setBusy(false)
    setFailure(failures[0] ?? null)
    if (!data?.redeliverCallbacks) return
    apply({ callbacks: data.redeliverCallbacks.callbacks })
    announce('The deliveries begin anew')
  }
  if (task.callbacks.length === 0)
    return <p class="soft">None: the task was submitted without a callback URL.</p>
  return (
    <>
      <ul class="task-deliveries">
        {task.callbacks.map((delivery) => (
          <DeliveryRow key={delivery.url} delivery={delivery} now={now} />
        ))}
      </ul>
      {isSettled(task) ? (
        <Button size="small" icon="retry" isBusy={isBusy} onClick={() => void redeliver()}>
          Redeliver
        </Button>
      ) : (
        <p class="soft">They begin when the task has settled.</p>
      )}
      {failure && <ErrorNote failure={failure} />}
    </>
  )
}

const TONES: Readonly<Record<Delivery['state'], Tone>> = {
  PENDING: 'warning',
  DELIVERED: 'success',
  GAVE_UP: 'danger',
}

function DeliveryRow({ delivery, now }: { readonly delivery: Delivery; readonly now: number }) {
  const { url, state, attempts, lastStatusCode, nextAttemptAt } = delivery
  return (
    <li class="task-delivery" data-state={state}>
      <Badge tone={TONES[state]}>{toDeliveryText(delivery)}</Badge>
      <span class="task-delivery-url">{url}</span>
      <span class="task-delivery-facts">
        <span>{attempts === 1 ? '1 attempt' : `${attempts} attempts`}</span>
        {lastStatusCode !== null && <span>last answer {lastStatusCode}</span>}
        {lastStatusCode === null && attempts > 0 && <span>no answer</span>}
        {state === 'PENDING' && nextAttemptAt !== null && <span>next {toNext(nextAttemptAt, now)}</span>}
      </span>
    </li>
  )
}

/** The clock of this machine may be ahead: a due attempt is made now. */
function toNext(at: string, now: number): string {
  return Date.parse(at) <= now ? 'now' : toRelative(at, now)
}
