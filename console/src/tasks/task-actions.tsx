import { useState } from 'preact/hooks'
import type { Failure } from '../failure.ts'
import { useSession } from '../session.ts'
import { Button } from '../ui/button.tsx'
import { Dialog } from '../ui/dialog.tsx'
import { ErrorNote } from '../ui/error-note.tsx'
import { useAnnounce } from '../ui/live.tsx'
import { isSettled } from './deliveries.ts'
import { CANCEL, DELETE, type OpenTask } from './task-documents.ts'

interface TaskActionsProps {
  readonly task: OpenTask
  readonly apply: (change: Partial<OpenTask>) => void
  readonly reload: () => void
  readonly onDeleted: (id: string) => void
}

interface Answer {
  readonly cancelUpscale?: OpenTask | null
  readonly deleteUpscaleTask?: string | null
}

/** Cancel, while the task waits in the queue; delete, once it has settled. */
export function TaskActions({ task, apply, reload, onDeleted }: TaskActionsProps) {
  const { execute } = useSession()
  const announce = useAnnounce()
  const [isBusy, setBusy] = useState(false)
  const [isAsking, setAsking] = useState(false)
  const [failure, setFailure] = useState<Failure | null>(null)
  /** Resolves to null if it failed. */
  const run = async (mutation: string): Promise<Answer | null> => {
    setBusy(true)
    const { data, failures } = await execute<Answer>(mutation, { id: task.id })
    setBusy(false)
    setAsking(false)
    setFailure(failures[0] ?? null)
    // It may have been sent, or deleted, in the meantime.
    if (failures[0]) reload()
    return failures[0] ? null : data
  }
  const cancel = async () => {
    const answer = await run(CANCEL)
    if (!answer?.cancelUpscale) return
    apply(answer.cancelUpscale)
    announce('Canceled')
  }
  const remove = async () => {
    if (!(await run(DELETE))) return
    announce('Deleted')
    onDeleted(task.id)
  }
  return (
    <>
      {failure && <ErrorNote failure={failure} />}
      {task.queue && (
        <Button variant="danger" icon="cross" isBusy={isBusy} onClick={() => void cancel()}>
          Cancel the task
        </Button>
      )}
      {isSettled(task) && (
        <Button variant="danger" onClick={() => setAsking(true)}>
          Delete…
        </Button>
      )}
      <Dialog title="Delete the task?" isOpen={isAsking} onClose={() => setAsking(false)}>
        <p>
          This deletes the task with its history, its idempotency keys, its deliveries and the copies of its
          pictures. It cannot be undone.
        </p>
        <div class="dialog-actions">
          <Button onClick={() => setAsking(false)}>Keep it</Button>
          <Button variant="danger" isBusy={isBusy} onClick={() => void remove()}>
            Delete
          </Button>
        </div>
      </Dialog>
    </>
  )
}
