/** Two for each connection of a store's pool. */
const SIZE = 20

/**
 * Runs the work on all items, 20 at once. A store on PostgreSQL has ten connections, and work that gets none
 * within a second fails: hundreds at once would depend on the speed of the machine.
 */
export async function inGroups<Item, Result>(
  items: readonly Item[],
  work: (item: Item, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = []
  for (let start = 0; start < items.length; start += SIZE) {
    const group = items.slice(start, start + SIZE)
    results.push(...(await Promise.all(group.map((item, n) => work(item, start + n)))))
  }
  return results
}
