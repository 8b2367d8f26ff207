import type { Session } from '../session.ts'
import { createStore, type Store } from '../store.ts'
import { CANCEL, type Task } from './operations.ts'
import { createRuns } from './runs.ts'
import { begin, EMPTY, isSettled, toRequest, type Try, type TryRequest } from './try.ts'

export interface Tries {
  /** The source task of the form: it is kept while another page is shown. */
  readonly source: Store<string>
  readonly all: Pick<Store<readonly Try[]>, 'get' | 'subscribe'>
  /** Submits pictures of one source task in one request. */
  submit(requests: readonly TryRequest[]): void
  /** Follows these tasks, if they are not on the screen. */
  restore(ids: readonly string[]): void
  /** Submits a refused or failed picture again, or follows its task again. */
  retry(key: string): void
  cancel(key: string): void
  clear(): void
}

/** A stream follows 50 tasks at most. */
const MAX_TRIES = 48

/** A random key, also on plain HTTP, where there is no `randomUUID`. */
function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('')
}

/** The cards of this tab. Submits that had no answer before a reload go on. */
export function createTries(session: Session, storage: Storage): Tries {
  const store = createStore<readonly Try[]>([])
  const runs = createRuns(session, store, storage)
  runs.resume()
  return {
    source: createStore(''),
    all: store,
    submit(requests) {
      const press = randomKey()
      const tries = requests.map((request) => begin(`${press}-${request.imageIndex}`, request))
      store.set([...tries, ...store.get()].slice(0, MAX_TRIES))
      runs.send(tries)
    },
    restore(ids) {
      const known = store.get().map(({ id }) => id)
      const added = ids.filter((id, index) => !known.includes(id) && ids.indexOf(id) === index)
      if (added.length === 0) return
      const tries = added.map((id): Try => ({ ...EMPTY, key: id, id, startedAt: Date.now() }))
      store.set([...store.get(), ...tries].slice(0, MAX_TRIES))
      runs.follow(added)
    },
    retry(key) {
      const found = store.get().find((each) => each.key === key)
      if (!found) return
      const request = found.request ?? (found.task && toRequest(found.task))
      if (found.id !== null && !isSettled(found.task)) {
        runs.update(key, { failure: null })
        runs.follow([found.id])
      } else if (request) {
        const next = begin(`${randomKey()}-${request.imageIndex}`, request)
        store.set(store.get().map((each) => (each === found ? next : each)))
        runs.send([next])
      }
    },
    cancel(key) {
      const id = store.get().find((each) => each.key === key)?.id
      if (id == null) return
      void session.execute<{ cancelUpscale: Task | null }>(CANCEL, { id }).then(({ data }) => {
        if (data?.cancelUpscale) runs.take(data.cancelUpscale)
      })
    },
    clear: runs.clear,
  }
}
