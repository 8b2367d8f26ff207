import { useState } from 'preact/hooks'
import { toGatewayUrl } from '../config.ts'
import { useQuery, useSession } from '../session.ts'
import { Button, LinkButton } from '../ui/button.tsx'
import { Card } from '../ui/card.tsx'
import { ErrorNote } from '../ui/error-note.tsx'
import { CodeDialog } from './code-dialog.tsx'
import { SOURCE, type SourceData } from './operations.ts'
import { Options, type OptionValues } from './options.tsx'
import { INDICES, PicturePicker } from './picture-picker.tsx'
import { toGraphiqlUrl, toSnippets } from './snippets.ts'
import { isNamed } from './sandbox-sources.ts'
import { SourcePicker } from './source-picker.tsx'
import type { Tries } from './tries.ts'
import { useCovers } from './covers.ts'
import { useSettled } from './use-settled.ts'

interface ComposerProps {
  readonly tries: Tries
  readonly source: string
  readonly onSource: (source: string) => void
  readonly onSubmit: () => void
}

const TYPING_PAUSE_MS = 350

/** What to upscale, and the button. */
export function Composer({ tries, source, onSource, onSubmit }: ComposerProps) {
  const { config } = useSession()
  const [chosen, setChosen] = useState<readonly number[]>(INDICES)
  const [options, setOptions] = useState<OptionValues>(DEFAULTS)
  const [isCodeOpen, setCodeOpen] = useState(false)
  const taskId = source.trim()
  const known = useSettled(taskId, isNamed(taskId) ? 0 : TYPING_PAUSE_MS)
  const { engine, waterMark, queue } = options
  const variables = { taskId: known, engine: engine === '' ? null : engine }
  const query = useQuery<SourceData>(known === '' ? null : SOURCE, variables)
  const isCurrent = known === taskId && taskId !== ''
  const pictures = isCurrent ? (query.data?.sourceImages ?? []) : []
  const covers = useCovers()
  const upscale = (event: Event) => {
    event.preventDefault()
    tries.submit(
      chosen.map((imageIndex) => ({
        ...options,
        taskId,
        imageIndex,
        sourceImage: pictures[imageIndex] ?? null,
      })),
    )
    onSubmit()
  }
  const snippetInput = {
    url: toGatewayUrl('graphql').href,
    isBearer: config.authentication === 'bearer',
    taskId: taskId === '' ? 'SOURCE_TASK_ID' : taskId,
    imageIndices: chosen.length > 0 ? chosen : INDICES,
    waterMark,
    engine,
    queue,
  }
  return (
    <Card class="composer">
      <form class="stack" onSubmit={upscale}>
        <SourcePicker source={source} onChange={onSource} covers={covers} />
        <PicturePicker
          pictures={pictures}
          isLoading={taskId !== '' && (!isCurrent || query.isLoading)}
          chosen={chosen}
          onChange={setChosen}
        />
        {isCurrent && query.failure && <ErrorNote failure={query.failure} onRetry={query.refetch} />}
        <Options values={options} onChange={setOptions} />
        <Button
          type="submit"
          variant="primary"
          size="large"
          icon="sparkle"
          isDisabled={taskId === '' || chosen.length === 0}
        >
          {chosen.length === 1 ? 'Upscale 1 picture' : `Upscale ${chosen.length} pictures`}
        </Button>
        {config.mode === 'LIVE' && <p class="field-hint">Live: each new upscale costs credits.</p>}
        <div class="composer-code">
          <Button variant="ghost" size="small" icon="code" onClick={() => setCodeOpen(true)}>
            Copy as code
          </Button>
          <LinkButton
            variant="ghost"
            size="small"
            icon="external"
            href={toGraphiqlUrl(snippetInput)}
            isExternal
          >
            Open in GraphiQL
          </LinkButton>
        </div>
      </form>
      <CodeDialog
        snippets={toSnippets(snippetInput)}
        isOpen={isCodeOpen}
        onClose={() => setCodeOpen(false)}
      />
    </Card>
  )
}

const DEFAULTS: OptionValues = { waterMark: '', engine: '', queue: true, force: false }
