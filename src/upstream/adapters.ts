import type { Dialect } from './dialect.ts'
import { createKieJobs } from './kie-jobs/dialect.ts'
import { kieMidjourney } from './kie-midjourney/dialect.ts'
import { legnext } from './legnext/dialect.ts'
import { midjourneyProxy } from './midjourney-proxy/dialect.ts'

/** What an operator can set for an engine. */
export interface AdapterOptions {
  /** kie-jobs: the model. */
  readonly model: string | null
  /** kie-jobs with a model that has one: the enlargement, 1, 2 or 4. */
  readonly factor: number | null
}

interface Adapter {
  /** @throws Error that names the invalid option. */
  createDialect(options: AdapterOptions): Dialect
}

/** The adapters by the name that ENGINES uses. A new one is a folder with a Dialect and an entry here. */
export const ADAPTERS = {
  'kie-midjourney': { createDialect: withoutOptions(kieMidjourney) },
  'kie-jobs': { createDialect: createKieJobs },
  'midjourney-proxy': { createDialect: withoutOptions(midjourneyProxy) },
  legnext: { createDialect: withoutOptions(legnext) },
} as const satisfies Record<string, Adapter>

function withoutOptions(dialect: Dialect): Adapter['createDialect'] {
  return ({ model, factor }) => {
    if (model !== null) throw new Error('model: this adapter has none; omit it')
    if (factor !== null) throw new Error('factor: this adapter has none; omit it')
    return dialect
  }
}
