/**
 * The hostile load as a process of its own: `tsx bench/soak/hostile.ts PORT SECONDS TASK_ID WATCH_TOKEN`. It
 * keeps 300 connections of all kinds open at once, each renewed as soon as it has ended, and stops by itself.
 *
 * Bounds: 127.0.0.1 only; 300 connections at once; 60 new ones a second; none while this process used more
 * than 60 % of a core in the last second. SOAK_KINDS, a regular expression, picks kinds by name. It prints
 * one line of JSON with what it has done.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { ATTACKS, type Target } from './attacks.ts'

const CONNECTIONS_PER_SECOND = 60
const CPU_LIMIT = 0.6

const [port, seconds, taskId = '', watchToken = ''] = process.argv.slice(2)
const target: Target = { port: Number(port), taskId, watchToken }
const startedAt = performance.now()
const endsAt = startedAt + Number(seconds) * 1_000
const opened: Record<string, number> = {}

let next = startedAt
let cpu = process.cpuUsage()
let isOverCpuLimit = false
const measuring = setInterval(() => {
  const { user, system } = process.cpuUsage(cpu)
  cpu = process.cpuUsage()
  isOverCpuLimit = (user + system) / 1_000_000 > CPU_LIMIT
}, 1_000)

/** Waits until one more connection may be opened. */
async function mayOpen(): Promise<void> {
  next = Math.max(next + 1_000 / CONNECTIONS_PER_SECOND, performance.now())
  await pause(Math.max(0, next - performance.now()))
  while (isOverCpuLimit && performance.now() < endsAt) await pause(100)
}

async function keep({ name, run }: (typeof ATTACKS)[number]): Promise<void> {
  while (performance.now() < endsAt) {
    await mayOpen()
    opened[name] = (opened[name] ?? 0) + 1
    await run(target)
  }
}

const kinds = new RegExp(process.env.SOAK_KINDS ?? '')
const attacks = ATTACKS.filter(({ name }) => kinds.test(name))
await Promise.all(attacks.flatMap((attack) => Array.from({ length: attack.share }, () => keep(attack))))
clearInterval(measuring)
const { user, system } = process.cpuUsage()
const core = (user + system) / 1_000 / (performance.now() - startedAt)
console.log(JSON.stringify({ core, opened }))
