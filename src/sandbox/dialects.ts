import type { Dialect } from './dialect.ts'
import { kieJobs } from './kie-jobs.ts'
import { kieMidjourney } from './kie-midjourney.ts'
import { legnext } from './legnext.ts'
import { midjourneyProxy } from './midjourney-proxy.ts'

/** The dialects that the sandbox speaks, all on one base URL: their paths differ. */
export const DIALECTS: readonly Dialect[] = [kieMidjourney, kieJobs, midjourneyProxy, legnext]

/** Undefined: a later version has stored the name. */
export function findDialect(name: string): Dialect | undefined {
  return DIALECTS.find((dialect) => dialect.name === name)
}
