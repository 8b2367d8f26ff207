/**
 * This checkout beside another one: `npm run bench:against -- FOLDER [RUNS] [MEASURE…]`. Both must be built
 * (`npm run build:bench`; checkouts from before the bundle: `npm run build`). The two run in turn, so that a
 * slow minute of the machine hits both; the table shows medians and their ratio.
 */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pinLoad, start, type Contender } from './compare/contender.ts'
import { OWN } from './compare/contenders.ts'
import { median } from './compare/measures.ts'
import { BARS, MEASURES } from './compare/plan.ts'
import { toTable } from './compare/report.ts'
import { startStubUpstream } from './compare/upstream.ts'

/** A ratio below this means that the checkout got worse. */
const BAR = 0.9

const [folder, runs = '3', ...keys] = process.argv.slice(2)
if (folder === undefined) throw new Error('npm run bench:against -- FOLDER [RUNS] [MEASURE…]')
pinLoad()
await using upstream = await startStubUpstream()
const toContender = (checkout: string, asShipped: boolean): Contender => {
  const bundled = resolve(checkout, 'dist-bench/own.js')
  const withHooks = existsSync(bundled) ? bundled : resolve(checkout, 'bench/own.mjs')
  return { ...OWN, program: asShipped ? resolve(checkout, 'dist/main.js') : withHooks }
}
const folders = { before: folder, now: '.' }
const found = new Map<string, Record<'before' | 'now', number[]>>()
for (let run = 0; run < Number(runs); run += 1)
  for (const { key, asShipped = false, measure } of MEASURES.filter(
    ({ key }) => keys.length === 0 || keys.includes(key),
  ))
    for (const which of ['before', 'now'] as const) {
      await using running = await start(toContender(folders[which], asShipped), upstream.url)
      const figures = await measure(running, upstream)
      console.error(`${new Date().toISOString().slice(11, 19)} ${key}, ${which}: ${JSON.stringify(figures)}`)
      for (const [figure, value] of Object.entries(figures)) {
        const values = found.get(figure) ?? { before: [], now: [] }
        found.set(figure, values)
        values[which].push(value)
      }
    }
const rows = BARS.flatMap(({ figure, title, moreIsBetter }) => {
  const values = found.get(figure)
  if (values === undefined) return []
  const [before, now] = [median(values.before), median(values.now)]
  const ratio = moreIsBetter ? now / before : before / now
  return [[title, before, now, `${ratio.toFixed(2)} ${ratio >= BAR ? '✓' : '✗'}`]]
})
console.log(toTable(['', 'before', 'now', `times as good (bar: ${BAR})`], rows))
process.exit()
