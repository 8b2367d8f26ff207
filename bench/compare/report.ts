/** The figures as tables in Markdown. */
import { BARS, type Bar, type Figures } from './plan.ts'

/** By contender ('own', 'a', …), then by figure. */
export type Results = Readonly<Record<string, Figures>>

export function format(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return '–'
  if (value >= 100) return Math.round(value).toLocaleString('en')
  return value.toFixed(value < 10 ? 2 : 1)
}

/** Ours, everyone else's, and how it stands to the bars: each ratio with its bar, and whether it is met. */
export function toComparison(results: Results): string {
  const head =
    '| measure | ours | a | b | c | d | limit | ÷ a (bar) | ÷ best of b, c (bar) | ÷ limit (bar) |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|'
  return [head, ...BARS.map((bar) => toRow(bar, results))].join('\n')
}

function toRow(bar: Bar, results: Results): string {
  const { figure, title, moreIsBetter } = bar
  const of = (name: string) => results[name]?.[figure]
  const own = of('own')
  const rivals = [of('b'), of('c')].filter((value) => value !== undefined)
  const best = rivals.length === 0 ? undefined : moreIsBetter ? Math.max(...rivals) : Math.min(...rivals)
  const limit = bar.limit && of(bar.limit.of)
  const judge = (value: number | undefined, target: number | undefined) => {
    const sign = moreIsBetter ? '≥' : '≤'
    if (value === undefined || target === undefined) return ''
    const met = moreIsBetter ? value >= target : value <= target
    return ` (${sign} ${target}) ${met ? '✓' : '✗'}`
  }
  const ratio = (to: number | undefined, target: number | undefined) =>
    own === undefined || to === undefined ? '–' : `${format(own / to)}${judge(own / to, target)}`
  const cells = [
    title,
    `${format(own)}${judge(own, bar.absolute)}`,
    ...['a', 'b', 'c', 'd'].map((name) => format(of(name))),
    format(limit),
    ratio(of('a'), bar.byTheBook),
    ratio(best, bar.best),
    ratio(limit, bar.limit?.ratio),
  ]
  return `| ${cells.join(' | ')} |`
}

/** Rows of figures under heads of their own. */
export function toTable(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const lines = rows.map((row) => row.map((cell) => (typeof cell === 'number' ? format(cell) : cell)))
  return [heads, heads.map((_, n) => (n === 0 ? '---' : '--:')), ...lines]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n')
}
