/**
 * Compares two heap snapshots of one process. V8 keeps the id of an object, so an object of the second
 * snapshot whose id is not in the first one was created in between. The format is described by the `meta` of
 * each file.
 */
import { readFile } from 'node:fs/promises'

interface SnapshotFile {
  readonly snapshot: {
    readonly meta: {
      readonly node_fields: readonly string[]
      readonly node_types: readonly [readonly string[]]
      readonly edge_fields: readonly string[]
      readonly edge_types: readonly [readonly string[]]
    }
  }
  /**
   * The fields of all nodes, one node after the other; those of edges likewise, in the order of their nodes.
   */
  readonly nodes: readonly number[]
  readonly edges: readonly number[]
  readonly strings: readonly string[]
}

export interface Snapshot {
  readonly count: number
  /** The constructor of an object; for other nodes their kind, in brackets. */
  group(node: number): string
  id(node: number): number
  selfSize(node: number): number
  /** The shortest path of strong references from the node to the root. */
  retainers(node: number): string
}

const EDGE_LABELS: Readonly<Record<string, (name: string) => string>> = {
  property: (name) => (/^\d+$/.test(name) ? '[]' : `.${name}`),
  element: () => '[]',
  context: (name) => ` (variable ${name})`,
}
/** A longer path is cut off: what lies beyond is how Node reaches its modules. */
const PATH_LENGTH = 9

export async function readSnapshot(file: string): Promise<Snapshot> {
  const { snapshot, nodes, edges, strings } = JSON.parse(await readFile(file, 'utf8')) as SnapshotFile
  const { meta } = snapshot
  const nodeWidth = meta.node_fields.length
  const count = nodes.length / nodeWidth
  const toReader = (values: readonly number[], fields: readonly string[], name: string) => {
    const offset = fields.indexOf(name)
    return (index: number) => values[index * fields.length + offset] ?? 0
  }
  const [type, name, id, selfSize, edgeCount] = ['type', 'name', 'id', 'self_size', 'edge_count'].map(
    (field) => toReader(nodes, meta.node_fields, field),
  ) as [Read, Read, Read, Read, Read]
  const [edgeType, edgeName, target] = ['type', 'name_or_index', 'to_node'].map((field) =>
    toReader(edges, meta.edge_fields, field),
  ) as [Read, Read, Read]
  const [nodeTypes] = meta.node_types
  const [edgeTypes] = meta.edge_types
  const weak = edgeTypes.indexOf('weak')

  const group = (node: number) => {
    const kind = nodeTypes[type(node)] ?? ''
    const label = strings[name(node)] ?? ''
    if (kind === 'object' || kind === 'native') return label.slice(0, 60)
    if (kind === 'closure') return `function ${label || '(anonymous)'}`
    return kind === 'array' || kind === 'hidden' ? `(${kind}) ${label.slice(0, 40)}`.trim() : `(${kind})`
  }

  const firstEdge = new Uint32Array(count + 1)
  for (let node = 0; node < count; node += 1) firstEdge[node + 1] = (firstEdge[node] ?? 0) + edgeCount(node)
  /** For each node the edge by which a breadth-first search from the root found it, and that edge's node. */
  const foundBy = new Int32Array(count).fill(-1)
  const parent = new Int32Array(count).fill(-1)
  const queue = [0]
  // The loop also visits nodes that it appends.
  for (const node of queue) {
    for (let edge = firstEdge[node] ?? 0; edge < (firstEdge[node + 1] ?? 0); edge += 1) {
      const next = target(edge) / nodeWidth
      if (edgeType(edge) === weak || next === 0 || foundBy[next] !== -1) continue
      foundBy[next] = edge
      parent[next] = node
      queue.push(next)
    }
  }
  const toLabel = (edge: number) => {
    const kind = edgeTypes[edgeType(edge)] ?? ''
    const isIndex = kind === 'element' || kind === 'hidden'
    const text = isIndex ? String(edgeName(edge)) : (strings[edgeName(edge)] ?? '')
    return (EDGE_LABELS[kind] ?? ((label) => ` <${/^\d+$/.test(label) ? kind : label}>`))(text)
  }
  return {
    count,
    group,
    id,
    selfSize,
    retainers(node) {
      const steps: string[] = []
      let at = node
      for (; (parent[at] ?? -1) > 0 && steps.length < PATH_LENGTH; at = parent[at] ?? -1)
        steps.push(`${group(parent[at] ?? 0)}${toLabel(foundBy[at] ?? 0)}`)
      return steps.join(' ← ') || '(no strong reference)'
    },
  }
}

type Read = (index: number) => number

export interface Growth {
  readonly group: string
  readonly count: number
  readonly bytes: number
  /**
   * Paths to the objects that were created in between, and how many of them each holds; the most frequent
   * first.
   */
  readonly retainers: readonly (readonly [path: string, count: number])[]
}

const RETAINERS = 3

/** The groups that grew by the most bytes. */
export function compareSnapshots(before: Snapshot, after: Snapshot, top: number): readonly Growth[] {
  const totals = new Map<string, { count: number; bytes: number }>()
  const known = new Set<number>()
  const add = (snapshot: Snapshot, sign: 1 | -1) => {
    for (let node = 0; node < snapshot.count; node += 1) {
      const total = totals.get(snapshot.group(node)) ?? { count: 0, bytes: 0 }
      totals.set(snapshot.group(node), total)
      total.count += sign
      total.bytes += sign * snapshot.selfSize(node)
      if (sign === -1) known.add(snapshot.id(node))
    }
  }
  add(before, -1)
  add(after, 1)
  const growers = [...totals]
    .filter(([, { bytes }]) => bytes > 0)
    .sort(([, a], [, b]) => b.bytes - a.bytes)
    .slice(0, top)
  const paths = new Map(growers.map(([group]) => [group, new Map<string, number>()]))
  for (let node = 0; node < after.count; node += 1) {
    const ofGroup = known.has(after.id(node)) ? undefined : paths.get(after.group(node))
    if (ofGroup === undefined) continue
    const path = after.retainers(node)
    ofGroup.set(path, (ofGroup.get(path) ?? 0) + 1)
  }
  return growers.map(([group, total]) => ({
    group,
    ...total,
    retainers: [...(paths.get(group) ?? [])].sort(([, a], [, b]) => b - a).slice(0, RETAINERS),
  }))
}
