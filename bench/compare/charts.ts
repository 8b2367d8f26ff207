/**
 * The charts of bench/figures.svg. Each measure replaces its own; bench/figures.json keeps those of all
 * measures.
 */
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { toSvg, type Chart } from './plot.ts'

const DATA = 'bench/figures.json'
const PLOT = 'bench/figures.svg'
const ORDER = ['subscribers', 'settled tasks', 'soak'] as const

export async function writeCharts(measure: (typeof ORDER)[number], charts: readonly Chart[]): Promise<void> {
  const before = existsSync(DATA) ? await readFile(DATA, 'utf8') : '{}'
  const all = { ...(JSON.parse(before) as Record<string, readonly Chart[]>), [measure]: charts }
  const rounded = (_key: string, value: unknown) =>
    typeof value === 'number' ? Number(value.toPrecision(5)) : value
  await writeFile(DATA, `${JSON.stringify(all, rounded)}\n`)
  await writeFile(PLOT, toSvg(ORDER.flatMap((each) => all[each] ?? [])))
}
