/**
 * The settings of the service: what the schema parses, and the checks and defaults that depend on several
 * settings.
 */
import type * as z from 'zod'
import { readEnvironment, type Environment } from './settings/environment.ts'
import type { EngineSetting } from './settings/engines.ts'
import { schema, toName } from './settings/schema.ts'
import { UPSTREAM } from './settings/upstream.ts'
import type { ResultStore } from './settings/result-store.ts'

type Given = z.infer<typeof schema>

/** The settings, checked, with the defaults that depend on the mode. */
export type Settings = ReturnType<typeof resolve>

/** All faults of the settings, one line each. */
export class SettingsError extends Error {
  override name = 'SettingsError'

  constructor(faults: readonly string[]) {
    super(`The settings are invalid:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`)
  }
}

/**
 * Parses environment variables; an empty one counts as not set.
 * @throws SettingsError naming every fault at once.
 */
export function parseSettings(environment: Environment): Settings {
  const { values, faults } = readEnvironment(environment, Object.keys(schema.shape), toName)
  const parsed = schema.safeParse(values)
  for (const { path, message } of parsed.error?.issues ?? [])
    faults.push(`${toName(path.join('.'))}${message.startsWith('"') ? ':' : ''} ${message}`)
  faults.push(...findAuthFaults(values, isLive(environment)))
  if (parsed.success)
    faults.push(...findContradictions(parsed.data), ...findStoreFaults(parsed.data, isLive(environment)))
  // A missing key may be a damaged one, which is reported already.
  if (parsed.success && faults.length === 0)
    faults.push(...findEngineFaults(parsed.data, isLive(environment)))
  if (!parsed.success || faults.length > 0) throw new SettingsError(faults)
  return resolve(parsed.data, isLive(environment))
}

/** LIVE: the real upstream, which is paid. SANDBOX: nothing is paid. */
function isLive(environment: Environment): boolean {
  return Boolean(environment.UPSTREAM_API_KEY) || Boolean(environment.ENGINE_KEYS)
}

function resolve({ databaseUrl: database, ...given }: Given, live: boolean) {
  return {
    ...given,
    database,
    mode: live ? ('LIVE' as const) : ('SANDBOX' as const),
    engines: given.engines.map((engine) => resolveEngine(engine, given, live)),
    introspection: given.introspection ?? !live,
    graphiql: given.graphiql ?? !live,
    console: given.console ?? !live,
    oidc: toOidc(given),
    auth: toAuth(given, live),
    resultStore: toResultStore(given, live),
    proxies: { http: given.httpProxy, https: given.httpsProxy, noProxy: given.noProxy },
  }
}

/** The addresses of the vendors. A self-hosted upstream has none. */
const VENDORS = {
  'kie-midjourney': UPSTREAM,
  'kie-jobs': UPSTREAM,
  'midjourney-proxy': null,
  legnext: 'https://api.legnext.ai',
} as const

type EngineSettings = Pick<
  Given,
  'engines' | 'engineKeys' | 'engineRateLimits' | 'upstreamApiKey' | 'upstreamUrl' | 'upstreamRateLimit'
>

/** The engines of kie.ai share its settings. */
function isKie({ adapter }: EngineSetting): boolean {
  return adapter === 'kie-midjourney' || adapter === 'kie-jobs'
}

/** The key of kie.ai must not go to another vendor with the same API. */
function usesKieKey(engine: EngineSetting): boolean {
  return isKie(engine) && (engine.url === null || engine.name === engine.adapter)
}

function resolveEngine(engine: EngineSetting, given: EngineSettings, live: boolean) {
  const { name, adapter } = engine
  const { engineKeys, engineRateLimits, upstreamApiKey, upstreamRateLimit } = given
  const rateLimit = engineRateLimits.get(name)
  return {
    ...engine,
    /** Null: the built-in sandbox. */
    url: engine.url ?? (isKie(engine) ? given.upstreamUrl : null) ?? (live ? VENDORS[adapter] : null),
    /** In the order in which they are tried. Empty: any key is accepted, in sandbox mode. */
    keys: engineKeys.get(name) ?? (usesKieKey(engine) ? upstreamApiKey : []),
    rateLimit: rateLimit === undefined ? upstreamRateLimit : rateLimit,
  }
}

function findEngineFaults(given: EngineSettings, live: boolean): string[] {
  const { engines, engineKeys, engineRateLimits } = given
  const names = engines.map(({ name }) => name)
  const isUnknown = (name: string) => !names.includes(name)
  // A key in the wrong place may look like a name, so unknown names of keys are not shown.
  const unknownKeys = [...engineKeys.keys()].some(isUnknown)
    ? [`ENGINE_KEYS must have no keys for other engines than those of ENGINES: ${names.join(', ')}`]
    : []
  const unknownRates = [...engineRateLimits.keys()]
    .filter(isUnknown)
    .map(
      (name) => `ENGINE_RATE_LIMITS must name engines of ENGINES: ${name} is not one of ${names.join(', ')}`,
    )
  const incomplete = engines
    .map((engine) => resolveEngine(engine, given, live))
    .flatMap(({ name, adapter, keys, url }) => {
      if (!live) return []
      if (keys.length === 0)
        return [`ENGINE_KEYS must have a key for ${name}, because other engines have one`]
      return url === null
        ? [`ENGINES must have a URL for ${name}, such as ${adapter}:http://localhost:8080`]
        : []
    })
  return [...unknownKeys, ...unknownRates, ...incomplete]
}

function toResultStore({ resultStore }: Pick<Given, 'resultStore'>, live: boolean): ResultStore {
  return resultStore ?? (live ? { kind: 'off' } : { kind: 'file', folder: './data/results' })
}

type AuthSettings = Partial<Record<'authMode' | 'authJwksUrl' | 'authJwtSecret', unknown>>

/** Callers are authenticated in live mode, or if keys are set. */
function authenticates({ authMode, authJwksUrl, authJwtSecret }: AuthSettings, live: boolean): boolean {
  return authMode ? authMode === 'jwt' : live || Boolean(authJwksUrl ?? authJwtSecret)
}

function toAuth(given: Omit<Given, 'databaseUrl'>, live: boolean) {
  const { authJwksUrl: jwksUrl, authJwtSecret: secrets, authIssuer: issuer, authAudience: audience } = given
  if (!authenticates(given, live)) return { mode: 'none' as const }
  return {
    mode: 'jwt' as const,
    keys: jwksUrl === null ? { secrets: secrets ?? [] } : { jwksUrl },
    issuer,
    audience,
  }
}

function findAuthFaults(given: AuthSettings, live: boolean): string[] {
  if (!authenticates(given, live)) return []
  if (given.authJwksUrl && given.authJwtSecret)
    return ['AUTH_JWKS_URL and AUTH_JWT_SECRET exclude each other']
  if (given.authJwksUrl ?? given.authJwtSecret) return []
  return [
    'AUTH_JWKS_URL or AUTH_JWT_SECRET must be set to authenticate callers; or AUTH_MODE=none, which accepts every caller',
  ]
}

type OidcSettings = Pick<Given, 'consoleOidcIssuer' | 'consoleOidcClientId' | 'consoleOidcScope'>

/** The OpenID provider of the console; null: none. */
function toOidc({
  consoleOidcIssuer: issuer,
  consoleOidcClientId: clientId,
  consoleOidcScope: scope,
}: OidcSettings) {
  return issuer === null || clientId === null ? null : { issuer, clientId, scope }
}

function findContradictions({
  port,
  callbackPort,
  metricsPort,
  databaseUrl,
  databaseListenUrl,
  consoleOidcIssuer,
  consoleOidcClientId,
}: Given): string[] {
  const faults = []
  if (callbackPort === port && port !== 0)
    faults.push('CALLBACK_PORT must differ from PORT; without it, callbacks are served on PORT')
  if (metricsPort !== null && metricsPort === callbackPort && metricsPort !== 0)
    faults.push('METRICS_PORT must differ from CALLBACK_PORT, which the internet reaches')
  if (databaseListenUrl !== null && databaseUrl.kind !== 'postgres')
    faults.push('DATABASE_LISTEN_URL must be unset unless DATABASE_URL is postgres://…')
  if ((consoleOidcIssuer === null) !== (consoleOidcClientId === null))
    faults.push('CONSOLE_OIDC_ISSUER and CONSOLE_OIDC_CLIENT_ID must both be set, or neither')
  return faults
}

function findStoreFaults(given: Given, live: boolean): string[] {
  const store = toResultStore(given, live)
  const { awsAccessKeyId, awsSecretAccessKey, publicUrl, resultUrl } = given
  const faults = []
  if (store.kind === 's3' && (awsAccessKeyId === null || awsSecretAccessKey === null))
    faults.push('RESULT_STORE=s3://… needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY')
  if (store.kind !== 'off' && live && publicUrl === null && resultUrl === null)
    faults.push('RESULT_STORE needs PUBLIC_URL or RESULT_URL: the base of the links of copies')
  return faults
}
