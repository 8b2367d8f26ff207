import type { Failure } from '../failure.ts'
import { Button } from './button.tsx'
import { CodeChip } from './code-chip.tsx'
import { toDuration } from './format.ts'
import { Icon } from './icon.tsx'

interface ErrorNoteProps {
  readonly failure: Failure
  /** Absent: there is no retry. */
  readonly onRetry?: () => void
  readonly isRetrying?: boolean
}

/** A failure: its code, the catalogue's text, and the correlation id to quote. */
export function ErrorNote({ failure, onRetry, isRetrying = false }: ErrorNoteProps) {
  const { code, message, correlationId, retryAfterMs, upstreamCode } = failure
  return (
    <div class="error-note" role="group" aria-label={`Error ${code}`}>
      <div class="error-line">
        <Icon name="warning" />
        <code class="error-code">{code}</code>
        {typeof upstreamCode === 'number' && <span class="error-upstream">upstream code {upstreamCode}</span>}
      </div>
      <p class="error-message">{message}</p>
      {(onRetry !== undefined || Boolean(correlationId)) && (
        <div class="error-actions">
          {onRetry && (
            <Button size="small" icon="retry" isBusy={isRetrying} onClick={onRetry}>
              Retry
            </Button>
          )}
          {onRetry && typeof retryAfterMs === 'number' && retryAfterMs > 0 && (
            <span class="error-after">in {toDuration(retryAfterMs)} at the earliest</span>
          )}
          {correlationId && <CodeChip value={correlationId} label="correlation id" />}
        </div>
      )}
    </div>
  )
}
