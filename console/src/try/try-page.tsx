import { useEffect, useRef } from 'preact/hooks'
import { replaceHash, toHash, useRoute } from '../router.ts'
import { useStore } from '../store.ts'
import { Button } from '../ui/button.tsx'
import { EmptyState } from '../ui/empty-state.tsx'
import { Composer } from './composer.tsx'
import { TryCard } from './try-card.tsx'
import type { Tries } from './tries.ts'

/** Upscales pictures of a generation, and shows each of them live. The URL has the source and the tasks. */
export function TryPage({ tries }: { tries: Tries }) {
  const { query } = useRoute()
  const items = useStore(tries.all)
  const linked = query.get('source') ?? ''
  const ids = query.get('tasks') ?? ''
  const source = useStore(tries.source)
  const written = useRef('')
  useEffect(() => {
    // What this page has written may be older than what is being typed.
    if (linked !== '' && linked !== written.current) tries.source.set(linked)
  }, [tries, linked])
  useEffect(() => tries.restore(ids.split(',').filter(Boolean)), [tries, ids])
  const tasks = items.flatMap(({ id }) => id ?? []).join(',')
  useEffect(() => {
    // The first rendering has not restored the tasks of the URL yet.
    if (tasks === '' && ids !== '') return
    written.current = tries.source.get()
    replaceHash(toHash(['try'], { source: written.current, tasks }))
  }, [source, tasks])
  const results = useRef<HTMLElement>(null)
  const showResults = () => {
    // On narrow screens they are below the form.
    if (matchMedia('(max-width: 900px)').matches) results.current?.scrollIntoView({ behavior: 'smooth' })
  }
  const clear = () => {
    tries.clear()
    replaceHash(toHash(['try'], { source }))
  }
  return (
    <div class="try">
      <div class="try-side">
        <div class="page-head">
          <h1>Try it</h1>
        </div>
        <Composer tries={tries} source={source} onSource={tries.source.set} onSubmit={showResults} />
      </div>
      <section ref={results} class="try-results" aria-labelledby="results">
        <div class="page-head">
          <h2 id="results">Results</h2>
          {items.length > 0 && (
            <Button variant="ghost" size="small" onClick={clear}>
              Clear
            </Button>
          )}
        </div>
        {items.length === 0 ? (
          <div class="try-empty">
            <EmptyState title="No upscales yet">
              Choose a source and press Upscale. Each picture gets a card here, which shows its task live:
              sent, processing, done.
            </EmptyState>
          </div>
        ) : (
          <ul class="try-grid">
            {items.map((item) => (
              <TryCard key={item.key} item={item} tries={tries} />
            ))}
          </ul>
        )}
      </section>
    </div>
  )
}
