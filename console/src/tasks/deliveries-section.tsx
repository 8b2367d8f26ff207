import { useState } from 'preact/hooks'
import { execute, toApiError, type Api, type ApiError } from './api.ts'
import { isSettled, toDeliveryText } from './deliveries.ts'
import { toRelative } from './formats.ts'
import { REDELIVER, type Delivery, type OpenTask } from './task-documents.ts'
import { useNow } from './use-now.ts'

interface DeliveriesSectionProps {
  readonly api: Api
  readonly task: OpenTask
  apply(change: Partial<OpenTask>): void
}

/** The deliveries to the callback URLs of a task. */
export function DeliveriesSection({ api, task, apply }: DeliveriesSectionProps) {
  const [isBusy, setBusy] = useState(false)
  const [error, setError] = useState<ApiError | null>(null)
  const now = useNow(1_000)
  const redeliver = () => {
    setBusy(true)
    setError(null)
    execute<{ redeliverCallbacks: Pick<OpenTask, 'callbacks'> }>(api, REDELIVER, { id: task.id })
      .then(({ redeliverCallbacks }) => apply(redeliverCallbacks))
      .catch((failure: unknown) => setError(toApiError(failure)))
      .finally(() => setBusy(false))
  }
  if (task.callbacks.length === 0)
    return <p class="muted">None: the task was submitted without a callback URL.</p>
  return (
    <>
      <ul class="deliveries">
        {task.callbacks.map((delivery) => (
          <DeliveryRow key={delivery.url} delivery={delivery} now={now} />
        ))}
      </ul>
      <div class="deliveries-actions">
        <button type="button" class="button" disabled={isBusy || !isSettled(task)} onClick={redeliver}>
          {isBusy ? 'Redelivering…' : 'Redeliver'}
        </button>
        {!isSettled(task) && <span class="muted">Deliveries begin when the task has settled.</span>}
      </div>
      {error && <p role="alert">{error.message}</p>}
    </>
  )
}

function DeliveryRow({ delivery, now }: { readonly delivery: Delivery; readonly now: number }) {
  const { url, state, attempts, lastStatusCode, nextAttemptAt } = delivery
  return (
    <li class="delivery" data-state={state}>
      <span class={`delivery-state delivery-${state.toLowerCase()}`}>{toDeliveryText(delivery)}</span>
      <span class="delivery-url">{url}</span>
      <span class="delivery-facts">
        <span>
          {attempts} {attempts === 1 ? 'attempt' : 'attempts'}
        </span>
        {lastStatusCode !== null && <span>last answer {lastStatusCode}</span>}
        {attempts > 0 && lastStatusCode === null && <span>no answer</span>}
        {nextAttemptAt !== null && state === 'PENDING' && <span>next {toRelative(nextAttemptAt, now)}</span>}
      </span>
    </li>
  )
}
