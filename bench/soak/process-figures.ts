/** What the operating system says of a process and those that it has started (Linux only). */
import { readdir, readFile } from 'node:fs/promises'

export interface Figures {
  readonly rssMiB: number
  readonly descriptors: number
  /** Seconds of a core that it has used so far. */
  readonly cpuSeconds: number
}

/** Ticks of a second in /proc/PID/stat. */
const TICKS = 100

export async function readFigures(pid: number): Promise<Figures> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  // What follows the name, which may hold anything: the 12th and 13th fields are the ticks in user and kernel
  // mode.
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ').at(-1)?.split(' ') ?? []
  const own = {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS,
    rssMiB: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1_024,
    descriptors: (await readdir(`/proc/${pid}/fd`)).length,
  }
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  const all = await Promise.all(children.trim().split(' ').filter(Boolean).map(Number).map(readFigures))
  return all.reduce(
    (sum, each) => ({
      rssMiB: sum.rssMiB + each.rssMiB,
      descriptors: sum.descriptors + each.descriptors,
      cpuSeconds: sum.cpuSeconds + each.cpuSeconds,
    }),
    own,
  )
}

/** Reads the figures each second until it is disposed of. */
export function sample(pid: number): Disposable & { readonly samples: Figures[] } {
  const samples: Figures[] = []
  const timer = setInterval(() => {
    void readFigures(pid).then(
      (figures) => samples.push(figures),
      (error: unknown) => console.error(`no figures of process ${pid}: ${String(error)}`),
    )
  }, 1_000)
  return { samples, [Symbol.dispose]: () => clearInterval(timer) }
}
