/** Draws a dashboard as SVG: the panels of dashboard.json with the answers to their queries. */

/** What is drawn of a panel of dashboard.json. */
export interface Panel {
  readonly type: 'row' | 'stat' | 'timeseries' | 'table'
  readonly title: string
  readonly gridPos: Readonly<Record<'x' | 'y' | 'w' | 'h', number>>
  readonly targets?: readonly { readonly expr: string; readonly legendFormat?: string }[]
  readonly fieldConfig?: {
    readonly defaults: {
      readonly unit: string
      readonly custom?: { readonly stacking: { readonly mode: string } }
      readonly thresholds?: {
        readonly steps: readonly { readonly color: string; readonly value: number | null }[]
      }
    }
  }
}

/** A line: a value for each of the times, null where there is none. */
export interface Series {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly values: readonly (number | null)[]
}

export interface Drawn {
  readonly panel: Panel
  readonly series: readonly Series[]
}

const COLUMN = 50
const UNIT = 26
const GAP = 6
const HEAD = 46
const MIB = 2 ** 20
const BACKGROUND = '#111217'
const SURFACE = '#1b1d23'
const TEXT = '#d8d9da'
const DIM = '#8e8e98'
const GRID = '#2c2e36'
const NAMED: Readonly<Record<string, string>> = { red: '#f2495c', green: '#73bf69', blue: '#8ab8ff' }
const COLORS = [
  '#73bf69',
  '#f2cc0c',
  '#5794f2',
  '#ff9830',
  '#f2495c',
  '#b877d9',
  '#33a2a8',
  '#e0a3c0',
  '#8f98a8',
  '#a16a3a',
]

/** The colour of an area below its line: half of the background. */
const toFill = (color: string) =>
  '#' +
  [1, 3, 5]
    .map((at) => (parseInt(color.slice(at, at + 2), 16) + parseInt(SURFACE.slice(at, at + 2), 16)) >> 1)
    .map((value) => value.toString(16).padStart(2, '0'))
    .join('')

const escape = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

interface Line {
  readonly x: number
  readonly y: number
  readonly size?: number
  readonly fill?: string
  readonly anchor?: 'start' | 'middle' | 'end'
}

const write = (text: string, { x, y, size = 11, fill = TEXT, anchor = 'start' }: Line) =>
  `<text x="${round(x)}" y="${round(y)}" font-size="${size}" fill="${fill}" text-anchor="${anchor}">${escape(text)}</text>`

const round = (value: number) => Math.round(value * 10) / 10

function toText(value: number, unit: string): string {
  const short = (number: number) =>
    String(
      Number(number.toPrecision(Math.abs(number) >= 100 ? Math.ceil(Math.log10(Math.abs(number) + 1)) : 3)),
    )
  switch (unit) {
    case 'percentunit':
      return `${(value * 100).toFixed(2)} %`
    case 'bytes':
      return `${short(value / MIB)} MiB`
    case 'ops':
      return `${short(value)}/s`
    case 's':
      if (value === 0) return '0 s'
      if (Math.abs(value) < 1) return `${short(value * 1_000)} ms`
      return Math.abs(value) < 120 ? `${short(value)} s` : `${short(value / 60)} min`
    default:
      return short(value)
  }
}

/** About five round values from the lowest to the highest one. */
function toTicks(low: number, high: number, unit: string): number[] {
  if (unit === 'bytes') return toTicks(low / MIB, high / MIB, '').map((tick) => tick * MIB)
  const rough = (high - low || 1) / 4
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough) ?? rough
  const first = Math.floor(low / step)
  const last = Math.max(Math.ceil(high / step), first + 1)
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step)
}

/** The last value that there is. */
const toLast = ({ values }: Series) => values.findLast((value) => value !== null) ?? null

function drawStat({ panel, series }: Drawn, width: number, height: number): string {
  const [first] = series
  const last = first && toLast(first)
  const { unit = 'short', thresholds } = panel.fieldConfig?.defaults ?? {}
  if (last === null || last === undefined) return noData(width, height)
  const step = thresholds?.steps.findLast(({ value }) => value === null || last >= value)
  const fill = NAMED[step?.color ?? 'blue'] ?? TEXT
  return write(toText(last, unit), { x: width / 2, y: height - 26, size: 26, fill, anchor: 'middle' })
}

function drawTable({ series }: Drawn): string {
  const rows = series.map(
    (each) => [...Object.entries(each.labels).toSorted().toReversed(), ['replicas', toLast(each)]] as const,
  )
  const names = (rows[0] ?? []).map(([name]) => name)
  const cells = [names, ...rows.map((row) => row.map(([, value]) => String(value)))]
  return cells
    .flatMap((row, line) =>
      row.map((cell, column) =>
        write(cell, { x: 14 + column * 120, y: 52 + line * 22, fill: line === 0 ? DIM : TEXT }),
      ),
    )
    .join('')
}

const noData = (width: number, height: number) =>
  write('No data', { x: width / 2, y: height / 2 + 8, fill: DIM, anchor: 'middle' })

/** The series that are drawn: in a stack, each is the sum of itself and those below. */
function toStack(series: readonly Series[]): number[][] {
  const sums: number[][] = []
  for (const { values } of series) {
    const below = sums.at(-1)
    sums.push(values.map((value, index) => (value ?? 0) + (below?.[index] ?? 0)))
  }
  return sums
}

function drawChart(
  { panel, series }: Drawn,
  times: readonly number[],
  size: { readonly width: number; readonly height: number },
): string {
  const { width, height } = size
  const shown = series.filter(({ values }) => values.some((value) => value !== null))
  if (shown.length === 0) return noData(width, height)
  const { unit = 'short', custom } = panel.fieldConfig?.defaults ?? {}
  const isStack = custom?.stacking.mode === 'normal'
  const lines: (number | null)[][] = isStack ? toStack(shown) : shown.map(({ values }) => [...values])
  const known = lines.flat().filter((value) => value !== null)
  const ticks = toTicks(Math.min(0, ...known), Math.max(0, ...known), unit)
  const [low = 0, high = 1] = [ticks[0], ticks.at(-1)]
  const legend = drawLegend(
    shown.map(({ name }) => name),
    width,
    height,
  )
  const [left, right, top, bottom] = [62, width - 12, 36, height - 24 - legend.height]
  const toX = (index: number) => left + ((right - left) * index) / (times.length - 1)
  const toY = (value: number) => bottom - ((bottom - top) * (value - low)) / (high - low)
  const axis = ticks.map((tick) => {
    const y = toY(tick)
    return (
      `<path d="M${left} ${round(y)}H${right}" stroke="${GRID}"/>` +
      write(toText(tick, unit), { x: left - 6, y: y + 4, size: 10, fill: DIM, anchor: 'end' })
    )
  })
  const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const index = Math.round(share * (times.length - 1))
    const minutes = ((times[index] ?? 0) - (times.at(-1) ?? 0)) / 60
    const label = minutes === 0 ? 'now' : `${minutes.toFixed(0)} min`
    const anchor = share === 0 ? 'start' : share === 1 ? 'end' : 'middle'
    return write(label, { x: toX(index), y: bottom + 14, size: 10, fill: DIM, anchor })
  })
  const paths = lines.map((values, index) => {
    const color = COLORS[index % COLORS.length] ?? TEXT
    const path = toPath(values, toX, toY)
    if (!isStack) return `<path d="${path}" fill="none" stroke="${color}" stroke-width="1.5"/>`
    const area = `${path}L${round(right)} ${round(toY(0))}H${left}Z`
    return `<path d="${area}" fill="${toFill(color)}"/><path d="${path}" fill="none" stroke="${color}"/>`
  })
  // The top of a stack first: the areas below it cover their part of it.
  return [...axis, ...marks, ...(isStack ? paths.toReversed() : paths), legend.svg].join('')
}

function toPath(
  values: readonly (number | null)[],
  toX: (index: number) => number,
  toY: (value: number) => number,
): string {
  let path = ''
  values.forEach((value, index) => {
    if (value === null) return
    const isStart = path === '' || values[index - 1] === null
    path += `${isStart ? 'M' : 'L'}${round(toX(index))} ${round(toY(value))}`
  })
  return path
}

/** The names in lines below the chart. */
function drawLegend(names: readonly string[], width: number, height: number) {
  const lines: { name: string; x: number; line: number; color: string }[] = []
  let [x, line] = [12, 0]
  names.forEach((name, index) => {
    const needed = 24 + name.length * (/[A-Z]{3}/.test(name) ? 7 : 5.8)
    if (x > 12 && x + needed > width) [x, line] = [12, line + 1]
    lines.push({ name, x, line, color: COLORS[index % COLORS.length] ?? TEXT })
    x += needed
  })
  const count = line + 1
  const svg = lines
    .map((each) => {
      const y = height - 10 - (count - 1 - each.line) * 14
      return (
        `<path d="M${round(each.x)} ${y - 4}h10" stroke="${each.color}" stroke-width="3"/>` +
        write(each.name, { x: each.x + 14, y, size: 10, fill: DIM })
      )
    })
    .join('')
  return { height: count * 14, svg }
}

function drawPanel(drawn: Drawn, times: readonly number[]): string {
  const { panel } = drawn
  const { x, y, w, h } = panel.gridPos
  const [left, top] = [x * COLUMN, HEAD + y * UNIT]
  if (panel.type === 'row') return write(panel.title, { x: left + 8, y: top + 19, size: 14 })
  const [width, height] = [w * COLUMN - GAP, h * UNIT - GAP]
  const content =
    panel.type === 'stat'
      ? drawStat(drawn, width, height)
      : panel.type === 'table'
        ? drawTable(drawn)
        : drawChart(drawn, times, { width, height })
  const title = panel.type === 'stat' ? toTwoLines(panel.title) : [panel.title]
  const heading = title.map((line, index) => write(line, { x: 12, y: 20 + index * 14, size: 12 })).join('')
  return (
    `<g transform="translate(${left + GAP / 2} ${top})"><rect width="${width}" height="${height}" rx="3" fill="${SURFACE}"/>` +
    `${heading}${content}</g>`
  )
}

/** A title that is too long for a stat, in two lines. */
function toTwoLines(title: string): string[] {
  if (title.length <= 30) return [title]
  const end = title.lastIndexOf(' ', 30)
  return [title.slice(0, end), title.slice(end + 1)]
}

export function drawDashboard(all: readonly Drawn[], times: readonly number[], heading: string): string {
  const rows = Math.max(...all.map(({ panel: { gridPos } }) => gridPos.y + gridPos.h))
  const [width, height] = [24 * COLUMN, HEAD + rows * UNIT + GAP]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="Inter, Helvetica, Arial, sans-serif">`,
    `<rect width="${width}" height="${height}" fill="${BACKGROUND}"/>`,
    write(heading, { x: 10, y: 28, size: 17 }),
    ...all.map((drawn) => drawPanel(drawn, times)),
    '</svg>',
    '',
  ].join('\n')
}
