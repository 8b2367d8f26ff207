/** Charts in one SVG, without a library: what they show stands in the tables, too. */
export interface Series {
  readonly name: string
  readonly points: readonly (readonly [number, number])[]
}

export interface Chart {
  readonly title: string
  readonly xTitle: string
  readonly series: readonly Series[]
}

const WIDTH = 420
const HEIGHT = 300
const PER_ROW = 3
/** A series with more points has no dots, and its axis has evenly spaced labels. */
const MANY_POINTS = 8
const LEFT = 56
const BOTTOM = 48
const TOP = 40
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#555555']

export function toSvg(charts: readonly Chart[]): string {
  const parts = charts.map((chart, n) => {
    const at = `${(n % PER_ROW) * WIDTH} ${Math.floor(n / PER_ROW) * HEIGHT}`
    return `<g transform="translate(${at})">${draw(chart)}</g>`
  })
  const box = `0 0 ${Math.min(charts.length, PER_ROW) * WIDTH} ${Math.ceil(charts.length / PER_ROW) * HEIGHT}`
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${box}" font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>${parts.join('')}</svg>\n`
}

function draw({ title, xTitle, series }: Chart): string {
  const all = series.flatMap(({ points }) => points)
  const xMax = Math.max(...all.map(([x]) => x))
  const yMax = Math.max(...all.map(([, y]) => y)) * 1.1
  const x = (value: number) => LEFT + (value / xMax) * (WIDTH - LEFT - 20)
  const y = (value: number) => HEIGHT - BOTTOM - (value / yMax) * (HEIGHT - BOTTOM - TOP - 14 * series.length)
  const text = (at: string, content: string) => `<text ${at}>${content}</text>`
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const value = yMax * share
    const label = value >= 1_000 ? Math.round(value).toLocaleString('en') : value.toFixed(value < 10 ? 1 : 0)
    const line = `<line x1="${LEFT}" x2="${WIDTH - 20}" y1="${y(value)}" y2="${y(value)}" stroke="#ddd"/>`
    return line + text(`x="${LEFT - 6}" y="${y(value) + 4}" text-anchor="end"`, label)
  })
  const values = [...new Set(all.map(([value]) => value))]
  const hasMany = values.length > MANY_POINTS
  const xs = hasMany ? [0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(xMax * share)) : values
  const labels = xs.map((value) =>
    text(`x="${x(value)}" y="${HEIGHT - BOTTOM + 16}" text-anchor="middle"`, value.toLocaleString('en')),
  )
  const lines = series.map(({ name, points }, n) => {
    const colour = COLOURS[n % COLOURS.length] ?? ''
    const path = points.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`)
    const dots = (hasMany ? [] : path).map(
      (at) => `<circle cx="${at.replace(',', '" cy="')}" r="3" fill="${colour}"/>`,
    )
    const legend = text(`x="${LEFT + 4}" y="${TOP + 14 * n}" fill="${colour}"`, name)
    return `<polyline points="${path.join(' ')}" fill="none" stroke="${colour}" stroke-width="2"/>${dots.join('')}${legend}`
  })
  return [
    text(`x="${LEFT}" y="20" font-size="13" font-weight="bold"`, title),
    ...ticks,
    ...labels,
    ...lines,
    text(`x="${WIDTH / 2}" y="${HEIGHT - 10}" text-anchor="middle"`, xTitle),
  ].join('')
}
