import { alone, type BenchRun } from './bench-run.ts'
import { OWN } from './contenders.ts'
import { readImageLayers, type Size } from './image-layers.ts'
import { toTable } from './report.ts'
import { countWireBytes } from './wire-bytes.ts'

const toMib = (bytes: number) => (bytes / 2 ** 20).toFixed(2)

/** What the image adds to its base, layer by layer, and what an event takes on the wire. */
export async function pay(bench: BenchRun): Promise<string> {
  const layers = await readImageLayers()
  const sizes = layers.flatMap(({ size }) => size ?? [])
  const sum = (key: keyof Size) => sizes.reduce((total, size) => total + size[key], 0)
  const rows = layers.map(({ instruction, size }) => [
    `\`${instruction}\``,
    ...(size === undefined ? ['–', '–'] : [toMib(size.files), toMib(size.compressed)]),
  ])
  const total = ['all that is computed', toMib(sum('files')), toMib(sum('compressed'))]
  const bytes = await alone(bench, OWN, countWireBytes)
  return [
    toTable(['layer of the image', 'MiB', 'compressed, MiB'], [...rows, total]),
    toTable(
      ['bytes on the wire', 'a state of a running task', 'the last state, with one image'],
      bytes.map(({ transport, running, succeeded }) => [transport, running.toFixed(0), String(succeeded)]),
    ),
  ].join('\n\n')
}
