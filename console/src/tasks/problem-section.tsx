import { Icon } from '../ui/icon.tsx'
import { toAdvice } from './advice.ts'
import { toAge } from './formats.ts'
import type { TaskProblem } from './task-documents.ts'
import type { Catalogue } from './use-catalogue.ts'

interface ProblemSectionProps {
  readonly problem: TaskProblem
  readonly catalogue: Catalogue
}

/**
 * Why a task has failed: the text of the catalogue, the message of the task if it is another one, and what to
 * do.
 */
export function ProblemSection({ problem, catalogue }: ProblemSectionProps) {
  const { code, message, upstreamCode } = problem
  const advice = toAdvice(code)
  const description = catalogue.get(code)?.description ?? message
  return (
    <section class="error-note task-problem" aria-label={`Problem ${code}`}>
      <div class="error-line">
        <Icon name="warning" />
        <code class="error-code">{code}</code>
        {upstreamCode !== null && <span class="error-upstream">upstream code {upstreamCode}</span>}
      </div>
      <p class="task-problem-description">{description}</p>
      {message !== description && <p class="soft">{message}</p>}
      <p class="task-problem-advice">
        <strong>{advice.by === 'operator' ? 'For the operator' : 'What to do'}</strong>
        {advice.text}
      </p>
      <p class="soft">{toRetryText(problem)}</p>
    </section>
  )
}

function toRetryText({ retryable, retryAfterMs }: TaskProblem): string {
  if (!retryable) return 'The same request fails again: it is not retryable.'
  return retryAfterMs ? `Retryable, after ${toAge(retryAfterMs)}.` : 'Retryable at once.'
}
