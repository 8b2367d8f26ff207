/** Lines of progress: on a terminal they are redrawn in place; elsewhere each change is a line of its own. */
import { stripVTControlCharacters, styleText } from 'node:util'

const REDRAW_MS = 200
const SPINNER = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']

export interface Progress {
  readonly colour: 'yellow' | 'cyan' | 'green' | 'red'
  readonly status: string
  readonly text: string
  /** Nothing follows. */
  readonly isFinal: boolean
}

export interface ProgressLines extends Disposable {
  show(line: number, progress: Progress): void
  /** Prints a sentence above the lines. */
  note(sentence: string): void
}

interface Line {
  readonly label: string
  progress: Progress
  /** When the final progress was shown, in milliseconds since the start; null: not yet. */
  finalMs: number | null
}

/** Opens one line for each label. */
export function openProgressLines(labels: readonly string[], first: Progress): ProgressLines {
  const startedAt = performance.now()
  const elapsed = () => performance.now() - startedAt
  const lines: Line[] = labels.map((label) => ({ label, progress: first, finalMs: null }))
  const output = process.stdout.isTTY ? openTerminal(lines, elapsed) : openLog(elapsed)
  return {
    show(index, progress) {
      const line = lines[index]
      if (!line || isSame(line.progress, progress)) return
      line.progress = progress
      line.finalMs = progress.isFinal ? elapsed() : null
      output.changed(line)
    },
    note: (sentence) => output.note(styleText('dim', sentence)),
    [Symbol.dispose]: () => output.close(),
  }
}

function isSame(a: Progress, b: Progress): boolean {
  return a.status === b.status && a.text === b.text
}

interface Output {
  changed(line: Line): void
  note(sentence: string): void
  close(): void
}

function openLog(elapsed: () => number): Output {
  return {
    changed: (line) => console.log(`${toSeconds(elapsed())}  ${toText(line)}`),
    note: (sentence) => console.log(`${' '.repeat(10)}${sentence}`),
    close: () => undefined,
  }
}

function openTerminal(lines: readonly Line[], elapsed: () => number): Output {
  let drawn = 0
  const draw = () => {
    const width = process.stdout.columns || 80
    const texts = lines.map((line) => fit(`${toMark(line, elapsed())} ${toText(line)}`, width))
    process.stdout.write(`${toStart(drawn)}${texts.map((text) => `${text}\n`).join('')}`)
    drawn = lines.length
  }
  draw()
  const timer = setInterval(draw, REDRAW_MS)
  return {
    changed: draw,
    note(sentence) {
      process.stdout.write(`${toStart(drawn)}${sentence}\n`)
      drawn = 0
      draw()
    },
    close() {
      clearInterval(timer)
      draw()
    },
  }
}

/** Moves the cursor up by as many lines, and clears the screen below. */
function toStart(lines: number): string {
  return lines === 0 ? '' : `\x1b[${lines}F\x1b[J`
}

function toMark({ progress, finalMs }: Line, elapsedMs: number): string {
  const spinner = SPINNER[Math.floor(elapsedMs / REDRAW_MS) % SPINNER.length]
  return `${toSeconds(finalMs ?? elapsedMs)} ${progress.isFinal ? ' ' : spinner}`
}

function toText({ label, progress: { colour, status, text } }: Line): string {
  return `${label}  ${styleText(colour, status.padEnd(10))}  ${text}`
}

function toSeconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`.padStart(8)
}

/** Cuts a line that would wrap: a wrapped line cannot be redrawn. Only its end has no control characters. */
function fit(line: string, width: number): string {
  const excess = stripVTControlCharacters(line).length - width
  return excess > 0 ? `${line.slice(0, -excess - 1)}…` : line
}
