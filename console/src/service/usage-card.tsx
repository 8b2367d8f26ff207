import { toAmount } from '../tasks/formats.ts'
import { Card } from '../ui/card.tsx'
import { toUsageByEngine, toUsageDays } from './service-data.ts'
import type { UsageEntry } from './service-documents.ts'

interface UsageCardProps {
  readonly usage: readonly UsageEntry[] | null
  readonly isLoaded: boolean
}

const WEEKDAY = new Intl.DateTimeFormat('en-GB', { weekday: 'short', timeZone: 'UTC' })

/** The credits of the last seven days: a column for each day, and a sum for each engine. */
export function UsageCard({ usage, isLoaded }: UsageCardProps) {
  const days = toUsageDays(usage ?? [], Date.now())
  const engines = toUsageByEngine(usage ?? [])
  const most = Math.max(1, ...days.map(({ credits }) => credits))
  return (
    <Card title="Usage" note="last 7 days, in UTC" class="usage-card">
      <ol class="usage-days" aria-label="Credits by day">
        {days.map(({ day, credits, tasks }) => (
          <li key={day} title={`${day}: ${toAmount(credits)} credits, ${tasks} tasks`}>
            <span class="usage-value">{credits > 0 ? toAmount(credits) : '–'}</span>
            <span class="usage-column" aria-hidden="true">
              <span style={{ height: `${(credits / most) * 100}%` }} />
            </span>
            <time class="usage-day" dateTime={day}>
              {WEEKDAY.format(new Date(day))}
            </time>
          </li>
        ))}
      </ol>
      <div class="usage-engines">
        {engines.map(({ engine, tasks, credits }) => (
          <p key={engine}>
            <strong>{engine}</strong> {toAmount(credits)} credits, {tasks === 1 ? '1 task' : `${tasks} tasks`}
          </p>
        ))}
        {isLoaded && engines.length === 0 && (
          <p class="soft">No engine has reported credits in these days.</p>
        )}
      </div>
    </Card>
  )
}
