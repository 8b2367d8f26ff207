/** What the tables of a run share. */
import { start, type Contender, type Running } from './contender.ts'
import type { StubUpstream } from './upstream.ts'

export interface BenchRun {
  readonly upstream: StubUpstream
  /** How often each figure is measured; tables show medians. */
  readonly runs: number
}

export function note(text: string): void {
  console.error(`${new Date().toISOString().slice(11, 19)} ${text}`)
}

/** Measures a contender in a process that is started for this and ends after it. */
export async function alone<T>(
  { upstream }: BenchRun,
  contender: Contender,
  work: (running: Running) => Promise<T>,
): Promise<T> {
  await using running = await start(contender, upstream.url)
  return await work(running)
}

export function judge(ratio: number, below: number): string {
  return `${ratio.toFixed(2)} ${ratio < below ? '✓' : '✗'}`
}
