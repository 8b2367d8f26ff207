/**
 * Where the time of a contender went, by package and by function: `npx tsx bench/compare/profile.ts
 * FILE.cpuprofile`. The profiles are what the bench leaves in BENCH_PROFILES. Only what was on the processor
 * counts.
 */
import { readFile } from 'node:fs/promises'

interface Profile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

const SHOWN = 25
const [file = ''] = process.argv.slice(2)
const { nodes, samples, timeDeltas } = JSON.parse(await readFile(file, 'utf8')) as Profile
const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
const byPlace = new Map<string, number>()
const byFunction = new Map<string, number>()
let busy = 0
for (const [n, id] of samples.entries()) {
  const { functionName, url, lineNumber } = frames.get(id) ?? { functionName: '', url: '', lineNumber: 0 }
  if (functionName === '(idle)') continue
  const micros = timeDeltas[n] ?? 0
  const place = toPlace(url) || functionName
  busy += micros
  byPlace.set(place, (byPlace.get(place) ?? 0) + micros)
  const name = `${functionName || '(anonymous)'} ${place}:${lineNumber + 1}`
  byFunction.set(name, (byFunction.get(name) ?? 0) + micros)
}
console.log(`${Math.round(busy / 1_000)} ms on the processor`)
for (const [title, counts] of [
  ['by package or file', byPlace] as const,
  ['by function', byFunction] as const,
]) {
  console.log(`\n${title}`)
  for (const [name, micros] of [...counts].sort(([, a], [, b]) => b - a).slice(0, SHOWN))
    console.log(`${((micros / busy) * 100).toFixed(1).padStart(5)} %  ${name}`)
}

/** The package, or the file of our own or of Node. */
function toPlace(url: string): string {
  const [, dependency] = /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? []
  return dependency ?? url.replace(/^file:.*\/(dist|bench)\//, '$1/')
}
