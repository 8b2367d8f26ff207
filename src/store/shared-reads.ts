import { setImmediate as nextTurn } from 'node:timers/promises'

/** How many are asked for by one question. */
const MAX_ASKED = 100

/**
 * Reads by id, such that all that are wanted within one turn of the event loop are asked for together, and each once: when
 * thousands who watch one task or many are woken at once, it costs a few questions. Whoever shares an id gets the very same object. A
 * read never gets an answer to a question that was asked before it.
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
