/** The format of ENGINES and of the settings per engine. */
import * as z from 'zod'
import { baseUrl } from './urls.ts'
import { hosts, list, rate } from './values.ts'

const ADAPTER_NAMES = ['kie-midjourney', 'kie-jobs', 'midjourney-proxy', 'legnext'] as const
type AdapterName = (typeof ADAPTER_NAMES)[number]

/** The models of kie-jobs. */
const MODELS = ['topaz/image-upscale', 'recraft/crisp-upscale'] as const
const FACTORS = [1, 2, 4]

/** An engine as ENGINES names it. */
export interface EngineSetting {
  readonly name: string
  readonly adapter: AdapterName
  /** The base of the upstream; null: that of the vendor, or the built-in sandbox. */
  readonly url: string | null
  /** kie-jobs only; null: the adapter's default. */
  readonly model: string | null
  readonly factor: number | null
  /** Hosts that results may have; empty: any. */
  readonly hosts: readonly string[]
}

const FORM = 'must be ADAPTER, ADAPTER:URL or NAME=ADAPTER:URL, separated by commas'

/** `kie-midjourney,jobs=kie-jobs:https://…?model=…&factor=…&hosts=…`: see docs/engines.md. */
export const engines = list.transform((items, context): readonly EngineSetting[] => {
  const parsed = items.map(parseEngine)
  const faults = parsed.flatMap((each) => ('fault' in each ? [each.fault] : []))
  const found = parsed.flatMap((each) => ('fault' in each ? [] : [each]))
  if (new Set(found.map(({ name }) => name)).size < found.length)
    faults.push('must name each engine once: write NAME=ADAPTER:URL for a second engine of an adapter')
  for (const fault of faults) context.addIssue(fault)
  return faults.length > 0 ? z.NEVER : found
})

const ITEM = /^(?:([a-z0-9][a-z0-9-]{0,31})=)?([a-z-]+)(?::(https?:\/\/[^?#]+))?(?:\?([^#]*))?$/

function parseEngine(item: string): EngineSetting | { readonly fault: string } {
  const [, given, adapterName = '', address, query = ''] = ITEM.exec(item) ?? []
  const adapter = ADAPTER_NAMES.find((each) => each === adapterName)
  if (adapter === undefined) return { fault: `${FORM}; an ADAPTER is one of ${ADAPTER_NAMES.join(', ')}` }
  const url = address === undefined ? null : baseUrl.safeParse(address)
  if (url !== null && !url.success)
    return { fault: `${FORM}; a URL is http(s) without user info or fragment` }
  const options = parseOptions(adapter, new URLSearchParams(query))
  return 'fault' in options
    ? options
    : { name: given ?? adapter, adapter, url: url?.data ?? null, ...options }
}

type EngineOptions = Pick<EngineSetting, 'model' | 'factor' | 'hosts'>

function parseOptions(
  adapter: AdapterName,
  query: URLSearchParams,
): EngineOptions | { readonly fault: string } {
  const known = adapter === 'kie-jobs' ? ['model', 'factor', 'hosts'] : ['hosts']
  const names = [...query.keys()]
  if (names.some((name) => !known.includes(name)) || new Set(names).size < names.length)
    return { fault: `must have no other parameters for ${adapter} than ${known.join(', ')}, each once` }
  const model = query.get('model')
  if (model !== null && !MODELS.some((each) => each === model))
    return { fault: `must have a model of ${MODELS.join(' or ')}` }
  const factor = query.has('factor') ? Number(query.get('factor')) : null
  if (factor !== null && !FACTORS.includes(factor)) return { fault: 'must have a factor of 1, 2 or 4' }
  if (factor !== null && model === 'recraft/crisp-upscale')
    return { fault: `must have no factor: ${model} has none` }
  // In a query, a plus sign is a space.
  const allowed = query.has('hosts')
    ? hosts.safeParse(query.get('hosts')?.trim().replaceAll(/\s+/g, ','))
    : null
  if (allowed !== null && !allowed.success)
    return { fault: 'must have hosts that are host names or addresses without a port, joined by +' }
  return { model, factor, hosts: allowed?.data.filter((host) => host !== undefined) ?? [] }
}

const NAME = /^[a-z0-9][a-z0-9-]{0,31}$/

/** `NAME=VALUE,…`. Undefined: not in this form. */
function toEntries(items: readonly string[]): [string, string][] | undefined {
  const entries = items.map((item): [string, string] => {
    const at = item.indexOf('=')
    return [item.slice(0, Math.max(0, at)), item.slice(at + 1)]
  })
  return entries.every(([name, value]) => NAME.test(name) && value !== '') ? entries : undefined
}

/** A key of an upstream: printable ASCII. (A comma separates keys.) */
export const API_KEY = /^[\x21-\x7e]+$/

/** The keys of each engine, in the order in which they are tried. */
export const engineKeys = list.transform((items, context): ReadonlyMap<string, readonly string[]> => {
  const entries = toEntries(items)
  if (entries?.every(([, key]) => API_KEY.test(key)) && new Set(items).size === items.length) {
    const byName = Map.groupBy(entries, ([name]) => name)
    return new Map([...byName].map(([name, own]) => [name, own.map(([, key]) => key)]))
  }
  context.addIssue('must be NAME=KEY, separated by commas, each key once, keys of printable ASCII')
  return z.NEVER
})

/** Rates by engine; null: no limit. */
export const engineRates = list.transform((items, context): ReadonlyMap<string, z.infer<typeof rate>> => {
  const entries = toEntries(items)?.map(([name, value]) => [name, rate.safeParse(value)] as const)
  const rates = new Map(entries?.map(([name, parsed]) => [name, parsed.data ?? null]))
  if (entries?.every(([, parsed]) => parsed.success) && rates.size === entries.length) return rates
  context.addIssue(
    'must be NAME=COUNT/SECONDSs, such as legnext=20/10s, separated by commas, each engine once',
  )
  return z.NEVER
})
