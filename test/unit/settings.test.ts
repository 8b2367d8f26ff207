import { describe, expect, test } from '@jest/globals'
import { SettingsError, parseSettings } from '../../src/settings.ts'
import { SETTING_NAMES } from '../../src/settings/schema.ts'

type Environment = Record<string, string | undefined>

const LIVE = { UPSTREAM_API_KEY: 'key-1', AUTH_MODE: 'none' }

/** What the settings are faulted for; empty when they are usable. */
function faultsOf(environment: Environment): string {
  try {
    parseSettings(environment)
    return ''
  } catch (error) {
    if (error instanceof SettingsError) return error.message
    throw error
  }
}

const WHSEC = 'whsec_c2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nzg5'

describe('settings', () => {
  test('that are not given have the defaults of the sandbox', () => {
    expect(parseSettings({})).toMatchObject({
      host: '127.0.0.1',
      port: 4000,
      callbackPort: null,
      metricsPort: null,
      mode: 'SANDBOX',
      upstreamUrl: null,
      upstreamTimeoutMs: 30_000,
      publicUrl: null,
      database: { kind: 'sqlite', file: './data/upscale.db' },
      redisUrl: null,
      poolSize: 10,
      pollIntervalMs: 30_000,
      taskDeadlineMs: 1_800_000,
      reassertMs: 15_000,
      drainMs: 10_000,
      upstreamWebhookKeys: [],
      upstreamWebhookWindowS: 300,
      callbackConfirm: false,
      taskRetentionDays: 90,
      sandboxImages: null,
      introspection: true,
      graphiql: true,
      logLevel: 'info',
    })
  })

  test('that are not given have, with an API key, the defaults of live mode', () => {
    expect(parseSettings(LIVE)).toMatchObject({
      host: '127.0.0.1',
      mode: 'LIVE',
      upstreamApiKey: ['key-1'],
      engines: [{ name: 'kie-midjourney', url: 'https://api.kie.ai', keys: ['key-1'] }],
      upstreamTimeoutMs: 30_000,
      publicUrl: null,
      introspection: false,
      graphiql: false,
    })
  })

  test.each([
    [{}, true],
    [LIVE, false],
    [{ CONSOLE: 'off' }, false],
    [{ ...LIVE, CONSOLE: 'on' }, true],
  ])('serve the console in sandbox mode, unless CONSOLE says otherwise: %j', (environment, console) => {
    expect(parseSettings(environment)).toMatchObject({ console, oidc: null })
  })

  test.each(['https://login.example.com/realms/a/', 'http://localhost:8080/realm', 'http://127.0.0.1:8080'])(
    'keep the issuer of the OpenID provider as it is: %s',
    (issuer) => {
      const given = { CONSOLE_OIDC_ISSUER: issuer, CONSOLE_OIDC_CLIENT_ID: 'console' }
      expect(parseSettings(given).oidc).toEqual({ issuer, clientId: 'console', scope: 'openid' })
      const scope = 'openid upscale'
      expect(parseSettings({ ...given, CONSOLE_OIDC_SCOPE: scope }).oidc).toMatchObject({ scope })
    },
  )

  test.each<[string, string, object]>([
    ['HOST', '0.0.0.0', { host: '0.0.0.0' }],
    ['PORT', '0', { port: 0 }],
    ['PORT', '65535', { port: 65_535 }],
    ['CALLBACK_PORT', '4001', { callbackPort: 4_001 }],
    ['CALLBACK_PORT', '0', { callbackPort: 0 }],
    ['METRICS_PORT', '9464', { metricsPort: 9_464 }],
    ['UPSTREAM_URL', 'http://127.0.0.1:4010', { upstreamUrl: 'http://127.0.0.1:4010' }],
    ['UPSTREAM_TIMEOUT_MS', '5000', { upstreamTimeoutMs: 5_000 }],
    [
      'DATABASE_URL',
      'file:/var/lib/upscale.db',
      { database: { kind: 'sqlite', file: '/var/lib/upscale.db' } },
    ],
    ['DATABASE_URL', 'postgres://u@db/x', { database: { kind: 'postgres', url: 'postgres://u@db/x' } }],
    ['DATABASE_URL', 'postgresql://u@db/x', { database: { kind: 'postgres', url: 'postgresql://u@db/x' } }],
    ['REDIS_URL', 'redis://cache:6379', { redisUrl: 'redis://cache:6379' }],
    ['AUTH_JWT_SECRET', 'ä'.repeat(16), { auth: { mode: 'jwt', keys: { secrets: ['ä'.repeat(16)] } } }],
    [
      'AUTH_JWT_SECRET',
      `${'n'.repeat(32)}, ${'o'.repeat(32)}`,
      { auth: { mode: 'jwt', keys: { secrets: ['n'.repeat(32), 'o'.repeat(32)] } } },
    ],
    ['POLL_INTERVAL_MS', '1', { pollIntervalMs: 1 }],
    ['POLLS_PER_SECOND', '100', { pollsPerSecond: 100 }],
    ['TASK_DEADLINE_MS', '600000', { taskDeadlineMs: 600_000 }],
    ['REASSERT_MS', '2147483647', { reassertMs: 2_147_483_647 }],
    ['DRAIN_MS', '0', { drainMs: 0 }],
    ['KEEP_ALIVE_TIMEOUT_MS', '65000', { keepAliveTimeoutMs: 65_000 }],
    ['UPSTREAM_WEBHOOK_KEYS', 'key-1', { upstreamWebhookKeys: ['key-1'] }],
    ['UPSTREAM_WEBHOOK_KEYS', 'key-2, key-1', { upstreamWebhookKeys: ['key-2', 'key-1'] }],
    ['UPSTREAM_WEBHOOK_WINDOW_S', '60', { upstreamWebhookWindowS: 60 }],
    ['CALLBACK_CONFIRM', 'true', { callbackConfirm: true }],
    ['CALLBACK_CONFIRM', 'false', { callbackConfirm: false }],
    ['TASK_RETENTION_DAYS', '1', { taskRetentionDays: 1 }],
    ['TASK_RETENTION_DAYS', '0', { taskRetentionDays: null }],
    [
      'CALLBACK_SIGNING_SECRETS',
      `${WHSEC}, alice=${WHSEC}, a=b=${WHSEC}`,
      {
        callbackSigningSecrets: [
          { owner: null, secret: WHSEC },
          { owner: 'alice', secret: WHSEC },
          { owner: 'a=b', secret: WHSEC },
        ],
      },
    ],
    [
      'CALLBACK_ALLOW_HOSTS',
      'Hooks.internal, 127.1,[::1]',
      { callbackAllowHosts: ['hooks.internal', '127.0.0.1', '[::1]'] },
    ],
    [
      'SUBSCRIPTION_CALLBACK_URLS',
      'http://router:4000/callback, https://hive.example.com/',
      { subscriptionCallbackUrls: ['http://router:4000/callback', 'https://hive.example.com/'] },
    ],
    ['WATCH_TOKEN_SECRETS', 'x'.repeat(32), { watchTokenSecrets: ['x'.repeat(32)] }],
    ['WATCH_TOKEN_TTL_S', '600', { watchTokenTtlS: 600 }],
    ['GUEST_SOCKETS', 'on', { guestSockets: true }],
    ['GUEST_SOCKETS', 'true', { guestSockets: true }],
    ['CALLBACK_CONFIRM', 'on', { callbackConfirm: true }],
    ['INTROSPECTION', 'false', { introspection: false }],
    ['SANDBOX_IMAGES', './pictures', { sandboxImages: './pictures' }],
    ['INTROSPECTION', 'off', { introspection: false, graphiql: true }],
    ['GRAPHIQL', 'off', { introspection: true, graphiql: false }],
    ['LOG_LEVEL', 'debug', { logLevel: 'debug' }],
    ['LOG_LEVEL', 'silent', { logLevel: 'silent' }],
  ])('%s=%s is what the service is run with', (name, value, expected) => {
    expect(parseSettings({ [name]: value })).toMatchObject(expected)
  })

  test('may open introspection and GraphiQL in live mode', () => {
    const config = parseSettings({ ...LIVE, INTROSPECTION: 'on', GRAPHIQL: 'on' })
    expect(config).toMatchObject({ mode: 'LIVE', introspection: true, graphiql: true })
  })

  test('may point the sandbox mode at an upstream elsewhere', () => {
    const config = parseSettings({ UPSTREAM_URL: 'http://127.0.0.1:4010/' })
    expect(config).toMatchObject({ mode: 'SANDBOX', upstreamUrl: 'http://127.0.0.1:4010' })
  })

  test('that are empty count as not given', () => {
    const empty = Object.fromEntries(SETTING_NAMES.map((name) => [name, '']))
    expect(parseSettings(empty)).toEqual(parseSettings({}))
  })

  test('that nobody knows are left alone', () => {
    expect(parseSettings({ PATH: '/bin', PORTS: 'x', port: 'x' })).toEqual(parseSettings({}))
  })
})

describe('a setting that is not usable', () => {
  test.each([
    ['PORT', '-1'],
    ['SUBSCRIPTION_CALLBACK_URLS', 'router:4000'],
    ['SUBSCRIPTION_CALLBACK_URLS', 'http://router:4000/callback,'],
    ['SUBSCRIPTION_CALLBACK_URLS', 'http://user@router:4000/callback'],
    ['WATCH_TOKEN_SECRETS', 'short'],
    ['WATCH_TOKEN_TTL_S', '1'],
    ['GUEST_SOCKETS', 'yes'],
    ['CALLBACK_SIGNING_SECRETS', 'plain'],
    ['CALLBACK_SIGNING_SECRETS', `${WHSEC},`],
    ['CALLBACK_SIGNING_SECRETS', 'whsec_dG9vIHNob3J0'],
    ['CALLBACK_SIGNING_SECRETS', `whsec_${'A'.repeat(90)}`],
    ['CALLBACK_ALLOW_HOSTS', 'hooks.internal:8080'],
    ['CALLBACK_ALLOW_HOSTS', 'https://hooks.internal'],
    ['CALLBACK_ALLOW_HOSTS', 'a,,b'],
    ['PORT', '65536'],
    ['PORT', '4000.5'],
    ['PORT', '4e3'],
    ['PORT', 'http'],
    ['CALLBACK_PORT', '70000'],
    ['METRICS_PORT', '70000'],
    ['UPSTREAM_TIMEOUT_MS', '0'],
    ['UPSTREAM_TIMEOUT_MS', '30s'],
    // Above this Node's timers fire at once.
    ['UPSTREAM_TIMEOUT_MS', '2147483648'],
    ['POLL_INTERVAL_MS', '0'],
    ['POLLS_PER_SECOND', '0'],
    ['POLLS_PER_SECOND', '1001'],
    ['TASK_DEADLINE_MS', '-5'],
    ['REASSERT_MS', '1.5'],
    ['DRAIN_MS', 'never'],
    ['KEEP_ALIVE_TIMEOUT_MS', '0'],
    ['UPSTREAM_URL', 'api.kie.ai'],
    ['UPSTREAM_URL', 'ftp://api.kie.ai'],
    ['PUBLIC_URL', 'gateway.example.com'],
    ['PUBLIC_URL', '/callbacks'],
    ['PUBLIC_URL', 'ftp://gateway.example.com'],
    ['PUBLIC_URL', 'https://user@gateway.example.com'],
    ['PUBLIC_URL', 'https://user:pass@gateway.example.com'],
    ['PUBLIC_URL', 'https://:pass@gateway.example.com'],
    ['PUBLIC_URL', 'https://gateway.example.com/?a=b'],
    ['PUBLIC_URL', 'https://gateway.example.com/#top'],
    ['DATABASE_URL', 'mysql://127.0.0.1/upscale'],
    ['DATABASE_URL', './data/upscale.db'],
    ['DATABASE_URL', 'file:'],
    ['UPSTREAM_WEBHOOK_KEYS', 'key-1,'],
    ['UPSTREAM_WEBHOOK_KEYS', ' , '],
    ['UPSTREAM_WEBHOOK_WINDOW_S', '5m'],
    ['CALLBACK_CONFIRM', 'yes'],
    ['TASK_RETENTION_DAYS', '-1'],
    ['AUTH_MODE', 'basic'],
    ['AUTH_JWT_SECRET', 'x'],
    ['AUTH_JWT_SECRET', 'x'.repeat(31)],
    ['AUTH_JWT_SECRET', `${'x'.repeat(32)},x`],
    ['AUTH_JWKS_URL', 'https://user:pass@login.example.com/jwks.json'],
    ['AUTH_JWKS_URL', 'nonsense'],
    ['INTROSPECTION', 'yes'],
    ['GRAPHIQL', '1'],
    ['CONSOLE', 'yes'],
    ['LOG_LEVEL', 'loud'],
    ['LOG_LEVEL', 'INFO'],
  ])('is named: %s=%s', (name, value) => {
    const message = faultsOf({ [name]: value })
    expect(message.split('\n').slice(1)).toEqual([expect.stringMatching(new RegExp(`^ {2}- ${name} must `))])
  })

  test.each([
    'login.example.com',
    'http://login.example.com',
    'https://user:pass@login.example.com',
    'https://login.example.com/?realm=a',
    'https://login.example.com/#realm',
    'http://localhost.example.com',
  ])('is named: CONSOLE_OIDC_ISSUER=%s', (issuer) => {
    const message = faultsOf({ CONSOLE_OIDC_ISSUER: issuer, CONSOLE_OIDC_CLIENT_ID: 'console' })
    expect(message.split('\n').slice(1)).toEqual([
      '  - CONSOLE_OIDC_ISSUER must be an https URL without user info, query or fragment; http only for localhost',
    ])
  })

  test.each([{ CONSOLE_OIDC_ISSUER: 'https://login.example.com' }, { CONSOLE_OIDC_CLIENT_ID: 'console' }])(
    'is half of the sign-in of the console: %j',
    (environment) => {
      expect(faultsOf(environment).split('\n').slice(1)).toEqual([
        '  - CONSOLE_OIDC_ISSUER and CONSOLE_OIDC_CLIENT_ID must both be set, or neither',
      ])
    },
  )

  test('is named together with all the others, each once', () => {
    const faulty = {
      PORT: 'x',
      CALLBACK_PORT: 'x',
      UPSTREAM_URL: 'x',
      UPSTREAM_TIMEOUT_MS: 'x',
      PUBLIC_URL: 'x',
      DATABASE_URL: 'x',
      POLL_INTERVAL_MS: 'x',
      TASK_DEADLINE_MS: 'x',
      REASSERT_MS: 'x',
      DRAIN_MS: 'x',
      UPSTREAM_WEBHOOK_WINDOW_S: 'x',
      CALLBACK_CONFIRM: 'x',
      TASK_RETENTION_DAYS: 'x',
      INTROSPECTION: 'x',
      GRAPHIQL: 'x',
      LOG_LEVEL: 'x',
    }
    const named = [...faultsOf(faulty).matchAll(/^ {2}- ([A-Z_]+) /gm)].map(([, name]) => name)
    expect(named.sort()).toEqual(Object.keys(faulty).sort())
  })

  test('is named together with the missing authentication of live mode', () => {
    const message = faultsOf({ UPSTREAM_API_KEY: 'key-1', PORT: 'x' })
    expect(message).toMatch(/^ {2}- PORT /m)
    expect(message).toMatch(/AUTH_MODE=none/)
  })

  test('is faulted by an error that carries its own name', () => {
    expect(() => parseSettings({ PORT: 'x' })).toThrow(expect.objectContaining({ name: 'SettingsError' }))
  })

  test('names REDIS_URL when its password is not percent-encoded', () => {
    const message = faultsOf({ REDIS_URL: 'redis://user:secret#word@cache:6379' })
    expect(message).toMatch(/^ {2}- REDIS_URL must be a valid URL: percent-encode/m)
    expect(message).not.toContain('secret')
  })

  test('is told without a word of what is secret', () => {
    const environment: Environment = {
      UPSTREAM_API_KEY: 'secret-api-key',
      DATABASE_URL: 'mysql://upscale:secret-password@db/upscale',
      UPSTREAM_URL: 'https://user:secret-password@api.kie.ai',
      PUBLIC_URL: 'https://user:secret-password@gateway.example.com',
      UPSTREAM_WEBHOOK_KEYS: 'secret-webhook-key,',
      CALLBACK_SIGNING_SECRETS: 'secret-signing-key',
      AUTH_MODE: 'secret-word',
      PORT: 'x',
    }
    const message = faultsOf(environment)
    expect(message).toMatch(/PORT[^]*DATABASE_URL|DATABASE_URL[^]*PORT/)
    expect(message).not.toMatch(/secret-/)
  })
})

describe('live mode', () => {
  test('does not start while nobody says that callers need not authenticate', () => {
    expect(faultsOf({ UPSTREAM_API_KEY: 'key-1' })).toMatch(/AUTH_MODE/)
    expect(faultsOf({ UPSTREAM_API_KEY: 'key-1', AUTH_MODE: '' })).toMatch(/AUTH_MODE/)
    expect(faultsOf({ UPSTREAM_API_KEY: 'key-1', AUTH_MODE: 'off' })).toMatch(/AUTH_MODE/)
  })

  test('starts with AUTH_MODE=none', () => {
    expect(parseSettings(LIVE).mode).toBe('LIVE')
  })

  test('is not what an empty API key means', () => {
    expect(parseSettings({ UPSTREAM_API_KEY: '' }).mode).toBe('SANDBOX')
  })
})

describe('PUBLIC_URL', () => {
  test.each([
    ['https://gateway.example.com', 'https://gateway.example.com'],
    ['https://gateway.example.com/', 'https://gateway.example.com'],
    ['https://gateway.example.com//', 'https://gateway.example.com'],
    ['https://gateway.example.com/upscale/', 'https://gateway.example.com/upscale'],
    ['http://gateway.internal:8080', 'http://gateway.internal:8080'],
    ['http://localhost:4000/', 'http://localhost:4000'],
    ['http://127.0.0.1:4000', 'http://127.0.0.1:4000'],
    ['http://[::1]:4000/', 'http://[::1]:4000'],
  ])('%s is the base %s', (given, base) => {
    expect(parseSettings({ PUBLIC_URL: given }).publicUrl).toBe(base)
    expect(parseSettings({ ...LIVE, PUBLIC_URL: given }).publicUrl).toBe(base)
  })

  // URL parsing forgives all of these, but a path put behind them as text would not be a path.
  test.each([
    'https://gateway.example.com?',
    'https://gateway.example.com/#',
    'https://gateway.example.com/?#',
    ' https://gateway.example.com',
    'https://gateway.example.com ',
    'https://gateway.example.com/\n',
    'https://gateway.example.com\\',
  ])('%j is either refused or a base to put a path behind', (given) => {
    if (faultsOf({ PUBLIC_URL: given }) !== '') return
    const url = new URL(`${parseSettings({ PUBLIC_URL: given }).publicUrl ?? ''}/callbacks/upscale/id/token`)
    expect(url.href).toBe('https://gateway.example.com/callbacks/upscale/id/token')
  })
})
