/**
 * The live list as data. Events change the rows that are shown at once, but add and remove rows only by
 * `settle`, so that nothing moves under the eyes of a reader who has scrolled down.
 */
import type { ListedTask, TaskPage, TaskStatus } from './task-documents.ts'

export interface TaskList {
  /** The newest state of each task that was loaded or reported, by id. */
  readonly known: ReadonlyMap<string, ListedTask>
  /** The ids of the rows, in their order. */
  readonly shown: readonly string[]
  /** Only tasks with this status; null: all. */
  readonly status: TaskStatus | null
  /** Where the next page begins. */
  readonly endCursor: string | null
  readonly hasMore: boolean
  /** The oldest task of the loaded pages. Older tasks are left to the next page. */
  readonly oldest: ListedTask | null
  readonly loaded: boolean
}

export function toEmptyList(status: TaskStatus | null): TaskList {
  return {
    known: new Map(),
    shown: [],
    status,
    endCursor: null,
    hasMore: false,
    oldest: null,
    loaded: false,
  }
}

/** Adds the first page, or the page after `endCursor`. */
export function addPage(list: TaskList, { edges, pageInfo }: TaskPage): TaskList {
  const nodes = edges.map(({ node }) => node)
  const known = new Map(list.known)
  for (const node of nodes) known.set(node.id, toNewer(known.get(node.id), node))
  const shown = new Set([...list.shown, ...nodes.map(({ id }) => id)])
  const next = {
    ...list,
    known,
    shown: [...shown],
    endCursor: pageInfo.endCursor ?? list.endCursor,
    hasMore: pageInfo.hasNextPage,
    oldest: nodes.at(-1) ?? list.oldest,
    loaded: true,
  }
  return list.loaded ? next : settle(next)
}

/**
 * Replaces the loaded pages by a first page that is loaded anew: states may have been missed. The rows that
 * are still there stay in their place until `settle`.
 */
export function reloadPage(list: TaskList, page: TaskPage): TaskList {
  const ids = new Set(page.edges.map(({ node }) => node.id))
  const newest = page.edges[0]?.node
  // A state that arrived while the page was on its way.
  const isLater = (task: ListedTask) => newest !== undefined && compareTasks(task, newest) < 0
  const known = new Map([...list.known].filter(([id, task]) => ids.has(id) || isLater(task)))
  const next = addPage({ ...toEmptyList(list.status), known }, page)
  return list.loaded ? { ...next, shown: list.shown.filter((id) => next.known.has(id)) } : next
}

/** Records a state. Rows that are shown change; new rows wait for `settle`. */
export function addState(list: TaskList, task: ListedTask): TaskList {
  const earlier = list.known.get(task.id)
  const newer = toNewer(earlier, task)
  return newer === earlier ? list : { ...list, known: new Map(list.known).set(task.id, newer) }
}

/** Removes a task that was deleted. */
export function removeTask(list: TaskList, id: string): TaskList {
  const known = new Map(list.known)
  known.delete(id)
  return { ...list, known, shown: list.shown.filter((shownId) => shownId !== id) }
}

/** How many tasks `settle` would add: the number on the button above the list. */
export function countNew(list: TaskList): number {
  const shown = new Set(list.shown)
  return toMatches(list).filter(({ id }) => !shown.has(id)).length
}

/** Whether `settle` would change the rows. */
export function isUnsettled(list: TaskList): boolean {
  const matches = toMatches(list)
  return matches.length !== list.shown.length || matches.some(({ id }, index) => id !== list.shown[index])
}

/** Shows exactly the tasks that match now, newest first. */
export function settle(list: TaskList): TaskList {
  return isUnsettled(list) ? { ...list, shown: toMatches(list).map(({ id }) => id) } : list
}

/** The rows whose source id or id contains the text. */
export function toRows(list: TaskList, text: string): readonly ListedTask[] {
  const wanted = text.trim().toLowerCase()
  return list.shown
    .map((id) => list.known.get(id))
    .filter((task) => task !== undefined)
    .filter(({ id, source }) => id.startsWith(wanted) || source.id.toLowerCase().includes(wanted))
}

/**
 * Whether a row no longer has the status that the list is filtered by. It stays in its place until `settle`.
 */
export function hasLeft({ status }: TaskList, task: ListedTask): boolean {
  return status !== null && task.status !== status
}

function toMatches(list: TaskList): readonly ListedTask[] {
  if (!list.loaded) return []
  const { oldest, hasMore } = list
  return [...list.known.values()]
    .filter((task) => !hasLeft(list, task))
    .filter((task) => !hasMore || !oldest || compareTasks(task, oldest) <= 0)
    .toSorted(compareTasks)
}

/** Newest first, in the order of `upscaleTasks`. */
function compareTasks(a: ListedTask, b: ListedTask): number {
  const difference = Date.parse(b.createdAt) - Date.parse(a.createdAt)
  return difference === 0 ? (a.id < b.id ? 1 : a.id > b.id ? -1 : 0) : difference
}

/**
 * A stream after a reconnect, or a slow page, may bring an older state. The place in the queue has no
 * version.
 */
function toNewer(earlier: ListedTask | undefined, task: ListedTask): ListedTask {
  return earlier && earlier.version > task.version ? earlier : task
}
