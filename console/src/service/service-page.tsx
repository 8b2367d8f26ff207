import type { ComponentChildren } from 'preact'
import { useQuery, useSession } from '../session.ts'
import { Badge } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { ErrorNote } from '../ui/error-note.tsx'
import { CatalogueCard } from './catalogue-card.tsx'
import { EnginesCard } from './engines-card.tsx'
import { ScriptsCard } from './scripts-card.tsx'
import { toQueueLength } from './service-data.ts'
import { CREDITS_QUERY, SERVICE_QUERY, type CreditsData, type ServiceData } from './service-documents.ts'
import { UsageCard } from './usage-card.tsx'
import { useEvery } from './use-every.ts'
import './service.css'

const REFRESH_MS = 10_000

/**
 * The gateway itself: its mode, engines, limits and costs, its error catalogue, and the scripts of the
 * sandbox.
 */
export function ServicePage() {
  const { config } = useSession()
  const service = useQuery<ServiceData>(SERVICE_QUERY)
  const credits = useQuery<CreditsData>(CREDITS_QUERY)
  useEvery(REFRESH_MS, service.refetch)
  const { data, failure } = service
  const mode = data?.upscaleService?.mode ?? config.mode
  const refresh = () => {
    service.refetch()
    credits.refetch()
  }
  return (
    <div class="service">
      <header class="page-head">
        <h1>Service</h1>
        <Button size="small" icon="retry" isBusy={service.isLoading && data !== null} onClick={refresh}>
          Refresh
        </Button>
      </header>
      {failure && <ErrorNote failure={failure} onRetry={refresh} />}
      <dl class="service-facts">
        <Tile name="Mode" note={mode === 'LIVE' ? 'Each upscale costs credits.' : 'Upscales cost nothing.'}>
          {mode === 'LIVE' ? <Badge tone="danger">Live</Badge> : <Badge tone="info">Sandbox</Badge>}
        </Tile>
        <Tile name="Version" note="of the gateway">
          {config.version}
        </Tile>
        <Tile name="Queue" note="of your tasks wait">
          {data ? toQueueLength(data) : '–'}
        </Tile>
        <Tile name="Engines" note="available">
          {data?.upscaleService ? toAvailable(data.upscaleService.engines) : '–'}
        </Tile>
      </dl>
      <div class="service-columns">
        <EnginesCard engines={data?.upscaleService?.engines ?? null} credits={credits} />
        <UsageCard usage={data?.upscaleService?.usage ?? null} isLoaded={data !== null} />
      </div>
      {mode === 'SANDBOX' && <ScriptsCard />}
      <CatalogueCard />
    </div>
  )
}

function toAvailable(engines: readonly { readonly available: boolean }[]): string {
  return `${engines.filter(({ available }) => available).length} of ${engines.length}`
}

interface TileProps {
  readonly name: string
  readonly note: string
  readonly children: ComponentChildren
}

function Tile({ name, note, children }: TileProps) {
  return (
    <div class="tile">
      <dt>{name}</dt>
      <dd>
        <span class="tile-value">{children}</span>
        <span class="tile-note">{note}</span>
      </dd>
    </div>
  )
}
