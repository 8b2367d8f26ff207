import { setImmediate as nextTurn } from 'node:timers/promises'

/** How many ids one query reads. */
const MAX_ASKED = 100

/**
 * Batches reads by id: all ids requested within one turn of the event loop are read together, each once. When thousands of
 * watchers wake at once, this takes a few queries. Reads of one id get the same object. A read never gets the result of a
 * query that was sent before it.
 */
export function shareReads<T extends { readonly id: string }>(
  ask: (ids: readonly string[]) => Promise<readonly T[]>,
): (id: string) => Promise<T | undefined> {
  let wanted = new Map<string, PromiseWithResolvers<T | undefined>>()
  const askFor = async (ids: readonly string[], waiting: typeof wanted) => {
    try {
      const found = new Map((await ask(ids)).map((each) => [each.id, each]))
      for (const id of ids) waiting.get(id)?.resolve(found.get(id))
    } catch (error) {
      for (const id of ids) waiting.get(id)?.reject(error)
    }
  }
  const flush = async () => {
    const waiting = wanted
    wanted = new Map()
    const ids = [...waiting.keys()]
    for (let at = 0; at < ids.length; at += MAX_ASKED) {
      await askFor(ids.slice(at, at + MAX_ASKED), waiting)
      // Whoever has an answer goes on before the next are there, so that few are in memory at once.
      await nextTurn()
    }
  }
  return (id) => {
    // After the promises that are about to go on, each of which may want to read.
    if (wanted.size === 0) setImmediate(() => void flush())
    let read = wanted.get(id)
    if (read === undefined) {
      read = Promise.withResolvers()
      wanted.set(id, read)
    }
    return read.promise
  }
}
