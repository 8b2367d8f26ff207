/** What the Service page derives from its data. */
import type { EngineRate, ErrorInfo, ServiceData, UsageEntry } from './service-documents.ts'

interface UsageDay {
  /** In UTC, such as `2026-01-31`. */
  readonly day: string
  readonly tasks: number
  readonly credits: number
}

/** One entry for each of the last days, oldest first, also for those without tasks. */
export function toUsageDays(usage: readonly UsageEntry[], nowMs: number, days = 7): readonly UsageDay[] {
  return Array.from({ length: days }, (_, index) => {
    const day = new Date(nowMs - (days - 1 - index) * 86_400_000).toISOString().slice(0, 10)
    const entries = usage.filter((entry) => entry.day === day)
    return { day, tasks: sum(entries, 'tasks'), credits: sum(entries, 'credits') }
  })
}

interface UsageOfEngine {
  readonly engine: string
  readonly tasks: number
  readonly credits: number
}

/** The sum of each engine: their units differ. */
export function toUsageByEngine(usage: readonly UsageEntry[]): readonly UsageOfEngine[] {
  const engines = [...new Set(usage.map(({ engine }) => engine))]
  return engines.map((engine) => {
    const entries = usage.filter((entry) => entry.engine === engine)
    return { engine, tasks: sum(entries, 'tasks'), credits: sum(entries, 'credits') }
  })
}

function sum(entries: readonly UsageEntry[], field: 'tasks' | 'credits'): number {
  return entries.reduce((total, entry) => total + entry[field], 0)
}

/** The number of the caller's tasks that wait in the queue; `100+` if there may be more. */
export function toQueueLength({ upscaleTasks }: Pick<ServiceData, 'upscaleTasks'>): string {
  const waiting = upscaleTasks?.edges.filter(({ node }) => node.queue !== null).length ?? 0
  return `${waiting}${upscaleTasks?.pageInfo.hasNextPage ? '+' : ''}`
}

/** The part of a rate budget that is used, from 0 to 1. */
export function toUsedShare({ limit, remaining }: EngineRate): number {
  return limit === 0 ? 1 : Math.min(1, Math.max(0, (limit - remaining) / limit))
}

/** The entries that contain every word, in their code, number or description. */
export function searchErrors(errors: readonly ErrorInfo[], text: string): readonly ErrorInfo[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean)
  return errors.filter(({ code, upstreamCode, description, retryable }) => {
    const all = `${code} ${upstreamCode ?? ''} ${description} ${retryable ? 'retryable' : ''}`.toLowerCase()
    return words.every((word) => all.includes(word))
  })
}
