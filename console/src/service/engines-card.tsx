import type { QueryState } from '../session.ts'
import { toAmount, toRelative } from '../tasks/formats.ts'
import { useNow } from '../tasks/use-now.ts'
import { Badge } from '../ui/badge.tsx'
import { Card } from '../ui/card.tsx'
import { toUsedShare } from './service-data.ts'
import type { CreditsData, Engine, EngineRate } from './service-documents.ts'

interface EnginesCardProps {
  /** Null until they are loaded. */
  readonly engines: readonly Engine[] | null
  readonly credits: Pick<QueryState<CreditsData>, 'data' | 'failure'>
}

/** The engines in the order of preference, each with its rate and its credits. */
export function EnginesCard({ engines, credits }: EnginesCardProps) {
  return (
    <Card title="Engines" note="in the order of preference" class="engines-card">
      <ul class="engines">
        {engines?.map((engine, index) => (
          <li key={engine.name} class="engine">
            <div class="engine-head">
              <strong>{engine.name}</strong>
              {index === 0 && <Badge>Default</Badge>}
              {engine.mode === 'LIVE' && <Badge tone="danger">Live</Badge>}
              <span class="engine-state">
                {engine.available ? (
                  <Badge tone="success">Available</Badge>
                ) : (
                  <Badge tone="warning">Paused after failures</Badge>
                )}
              </span>
            </div>
            <dl class="engine-facts">
              <div>
                <dt>Credits</dt>
                <dd>{toCreditsText(engine.name, credits)}</dd>
              </div>
              <div class="engine-rate">
                <dt>Rate</dt>
                <dd>
                  {engine.rate ? (
                    <RateMeter name={engine.name} rate={engine.rate} />
                  ) : (
                    <span class="soft">no limit</span>
                  )}
                </dd>
              </div>
            </dl>
          </li>
        )) ?? <li class="engine engine-placeholder" aria-hidden="true" />}
      </ul>
    </Card>
  )
}

function toCreditsText(name: string, { data, failure }: EnginesCardProps['credits']) {
  if (failure?.code === 'FORBIDDEN') return <span class="soft">operators only</span>
  if (failure) return <span class="soft">not available: {failure.message}</span>
  const engine = data?.upscaleService?.engines.find((each) => each.name === name)
  if (!engine) return '–'
  return engine.credits === null ? <span class="soft">not reported</span> : toAmount(engine.credits)
}

/** How much of the rate is used. */
function RateMeter({ name, rate }: { readonly name: string; readonly rate: EngineRate }) {
  const now = useNow()
  const { limit, remaining, resetAt } = rate
  const isLow = toUsedShare(rate) > 0.8
  const isFreed = resetAt !== null && Date.parse(resetAt) > now
  return (
    <div class="rate">
      <meter
        class={isLow ? 'meter meter-low' : 'meter'}
        min={0}
        max={limit}
        value={limit - remaining}
        aria-label={`Used rate of ${name}`}
      />
      <span class="rate-text">
        {remaining} of {limit} left{isFreed && `, more ${toRelative(resetAt, now)}`}
      </span>
    </div>
  )
}
