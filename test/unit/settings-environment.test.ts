import { describe, expect, test } from '@jest/globals'
import { SettingsError, parseSettings } from '../../src/settings.ts'
import { findLookalikes } from '../../src/settings/environment.ts'
import { SETTING_NAMES } from '../../src/settings/schema.ts'

/** The faults of these settings, one per line. */
function faultsOf(environment: Record<string, string>): string[] {
  try {
    parseSettings(environment)
    return []
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error
    return error.message.split('\n').slice(1)
  }
}

const LIVE = { UPSTREAM_API_KEY: 'key', AUTH_MODE: 'none' }

describe('white space around a value is not part of it', () => {
  test.each<[string, string, object]>([
    ['UPSTREAM_API_KEY', 'key\n', { mode: 'LIVE', upstreamApiKey: ['key'] }],
    ['UPSTREAM_API_KEY', '\ufeff key\r\n', { upstreamApiKey: ['key'] }],
    ['AUTH_JWT_SECRET', `${'s'.repeat(32)}\r`, { auth: { keys: { secrets: ['s'.repeat(32)] } } }],
    [
      'AUTH_JWKS_URL',
      ' https://a.example.com/k ',
      { auth: { keys: { jwksUrl: 'https://a.example.com/k' } } },
    ],
    ['DATABASE_URL', 'postgres://u@db/x\n', { database: { url: 'postgres://u@db/x' } }],
    ['REDIS_URL', ' redis://cache', { redisUrl: 'redis://cache' }],
    ['PORT', '4001\r', { port: 4_001 }],
    ['LOG_LEVEL', 'debug ', { logLevel: 'debug' }],
    ['CORS_ORIGINS', 'http://a,\n  http://b\n', { corsOrigins: ['http://a', 'http://b'] }],
  ])('%s=%j', (name, value, expected) => {
    const environment = name === 'UPSTREAM_API_KEY' ? { ...LIVE, [name]: value } : { [name]: value }
    expect(parseSettings(environment)).toMatchObject(expected)
  })
})

describe('a value that a copy or an env file has damaged is refused by name and never shown', () => {
  test.each(SETTING_NAMES)('%s', (name) => {
    expect(faultsOf({ [name]: 'sec\nret' })).toContainEqual(
      `  - ${name} must not contain the invisible character U+000A: type the value again`,
    )
    for (const value of [
      'sec\u200bret',
      'sec\u00adret',
      'sec\ufeffret',
      'sec\u2028ret',
      'sec\u0000ret',
      'sec\u3164ret',
    ])
      expect(faultsOf({ [name]: value })).toContainEqual(
        expect.stringMatching(
          new RegExp(`^ {2}- ${name} must not contain the invisible character U\\+[0-9A-F]{4}:`),
        ),
      )
    for (const value of ['"secret"', "'secret'", '“secret”', '`secret`', '""'])
      expect(faultsOf({ [name]: value })).toContainEqual(
        `  - ${name} must not be in quotes: docker --env-file reads them as part of the value`,
      )
    expect(faultsOf({ [name]: ' \n' })).toContainEqual(
      `  - ${name} must not be only white space: unset it, or give a value`,
    )
    expect(faultsOf({ [name]: 'sec\nret' }).join('\n')).not.toMatch(/sec|ret/)
  })

  test.each(['a b', 'Bearer key', 'schlüssel', 'a\tb', 'key,\nkey'])('UPSTREAM_API_KEY=%j', (key) => {
    expect(faultsOf({ ...LIVE, UPSTREAM_API_KEY: key })).toEqual([
      expect.stringMatching(
        /^ {2}- UPSTREAM_API_KEY must (be one word of printable ASCII|not contain the invisible)/,
      ),
    ])
  })

  test.each(['http://localhost', 'localhost:4000', '[::1]', 'a/b', 'a b'])('HOST=%s', (host) => {
    expect(faultsOf({ HOST: host })).toEqual([
      '  - HOST must be a host name or an address, without scheme, port or brackets',
    ])
  })

  test.each(['::', '::1', 'fe80::1%eth0', '0.0.0.0', 'localhost', 'my_host', 'a.b-c.d'])(
    'but not HOST=%s',
    (host) => {
      expect(parseSettings({ HOST: host }).host).toBe(host)
    },
  )

  test('metrics on the port of callbacks, but on that of the service or on any free one', () => {
    expect(faultsOf({ CALLBACK_PORT: '4001', METRICS_PORT: '4001' })).toEqual([
      '  - METRICS_PORT must differ from CALLBACK_PORT, which the internet reaches',
    ])
    expect(parseSettings({ METRICS_PORT: '4000' })).toMatchObject({ port: 4_000, metricsPort: 4_000 })
    const free = { PORT: '0', CALLBACK_PORT: '0', METRICS_PORT: '0' }
    expect(parseSettings(free)).toMatchObject({ metricsPort: 0 })
  })

  test('two servers on one port, and a URL for LISTEN without PostgreSQL', () => {
    expect(faultsOf({ CALLBACK_PORT: '4000', DATABASE_LISTEN_URL: 'postgres://db/x' })).toEqual([
      '  - CALLBACK_PORT must differ from PORT; without it, callbacks are served on PORT',
      '  - DATABASE_LISTEN_URL must be unset unless DATABASE_URL is postgres://…',
    ])
    expect(parseSettings({ PORT: '0', CALLBACK_PORT: '0' })).toMatchObject({ callbackPort: 0 })
  })
})

describe('CORS_ORIGINS', () => {
  test.each([
    ['https://app.example.com', 'https://app.example.com'],
    ['HTTPS://App.Example.COM', 'https://app.example.com'],
    ['https://app.example.com:443', 'https://app.example.com'],
    ['http://app.example.com:80', 'http://app.example.com'],
    ['https://app.example.com:80', 'https://app.example.com:80'],
    ['http://localhost:5173', 'http://localhost:5173'],
    ['http://[::1]:5173', 'http://[::1]:5173'],
    ['https://bücher.example', 'https://xn--bcher-kva.example'],
    ['capacitor://localhost', 'capacitor://localhost'],
    ['ionic://localhost', 'ionic://localhost'],
    ['tauri://localhost', 'tauri://localhost'],
    ['chrome-extension://abcdefghijklmnop', 'chrome-extension://abcdefghijklmnop'],
    [
      'moz-extension://4f3a1c9e-0000-4000-8000-000000000000',
      'moz-extension://4f3a1c9e-0000-4000-8000-000000000000',
    ],
    ['app://obsidian.md', 'app://obsidian.md'],
  ])('takes %s as %s', (given, origin) => {
    expect(parseSettings({ CORS_ORIGINS: given }).corsOrigins).toEqual([origin])
  })

  test.each([
    ['http://localhost:5173/', ': "http://localhost:5173/" must not end with a slash'],
    ['capacitor://localhost/', ': "capacitor://localhost/" must not end with a slash'],
    ['https://*.example.com', ': "https://*.example.com" must not contain a wildcard: list each origin'],
    ['*', ': "*" must not contain a wildcard: list each origin'],
    ['null', ': "null" is the origin of every sandboxed frame and local file: name an origin of your own'],
    [
      'https://a.example.com/app',
      ': "https://a.example.com/app" must not have a path, a query or a fragment',
    ],
    ['https://a.example.com?x', ': "https://a.example.com?x" must not have a path, a query or a fragment'],
    ['app.example.com', ': "app.example.com" must begin with a scheme, such as https://'],
    ['localhost:5173', ': "localhost:5173" must begin with a scheme, such as https://'],
    ['//a.example.com', ': "//a.example.com" must begin with a scheme, such as https://'],
    [
      'wss://a.example.com',
      ': "wss://a.example.com" must be the origin of the page (http or https), not of the socket',
    ],
    ['https://', ': "https://" must name a host'],
    ['file://', ': "file://" must name a host'],
    ['https://user:secret@a.example.com', ' must not contain a user name'],
    [
      'https://a.example.com:99999',
      ': "https://a.example.com:99999" is not an origin such as https://app.example.com',
    ],
    ['https://a b', ': "https://a b" is not an origin such as https://app.example.com'],
    ['https://a.example.com,', ' must not be empty: remove the comma'],
    ['https://a.example.com,,https://b.example.com', ' must not be empty: remove the comma'],
  ])('refuses %s and says what is wrong', (given, fault) => {
    expect(faultsOf({ CORS_ORIGINS: given })).toEqual([`  - CORS_ORIGINS${fault}`])
  })

  test('names each bad origin of a list', () => {
    expect(faultsOf({ CORS_ORIGINS: 'http://a/, http://b, c' })).toEqual([
      '  - CORS_ORIGINS: "http://a/" must not end with a slash',
      '  - CORS_ORIGINS: "c" must begin with a scheme, such as https://',
    ])
  })
})

describe('a variable that resembles a setting', () => {
  test.each([
    ['UPSTREAM_APIKEY', 'UPSTREAM_API_KEY'],
    ['upstream_api_key', 'UPSTREAM_API_KEY'],
    ['UPSTREAM-API-KEY', 'UPSTREAM_API_KEY'],
    ['UPSTREAM_API_KEYS', 'UPSTREAM_API_KEY'],
    ['UPSTREAM_KEY', 'UPSTREAM_API_KEY'],
    ['UPSTEAM_API_KEY', 'UPSTREAM_API_KEY'],
    ['CORS_ORIGIN', 'CORS_ORIGINS'],
    ['TASK_RETENTION', 'TASK_RETENTION_DAYS'],
    ['UPSTREAM_TIMEOUT', 'UPSTREAM_TIMEOUT_MS'],
    ['AUTH_JWT_SECRETS', 'AUTH_JWT_SECRET'],
    ['DATABASE_URI', 'DATABASE_URL'],
    ['REDIS_URI', 'REDIS_URL'],
    ['WATCH_TOKEN_SECRET', 'WATCH_TOKEN_SECRETS'],
  ])('is pointed out: %s', (name, meant) => {
    expect(findLookalikes({ [name]: 'x' }, SETTING_NAMES)).toEqual([{ name, meant }])
  })

  test.each([
    ...[
      'HOSTNAME',
      'PORTS',
      'port',
      'HOSTS',
      'HTTP_PORT',
      'PATH',
      'PWD',
      'HOME',
      'NODE_ENV',
      'DEBUG',
      'TZ',
      'MODE',
    ],
    ...['DATABASE_USER', 'DATABASE_HOST', 'DATABASE_NAME', 'DATABASE_PASSWORD', 'REDIS_HOST', 'REDIS_PORT'],
    ...[
      'AUTH_SECRET',
      'AUTH_URL',
      'npm_config_loglevel',
      'npm_lifecycle_event',
      'GRAPHQL',
      'LOGNAME',
      'JWT_SECRET',
    ],
    ...[
      'KUBERNETES_SERVICE_HOST',
      'UPSCALE_GATEWAY_PORT',
      'TEST_DATABASE_URL',
      'TEST_REDIS_URL',
      'API_KEY',
      'PUBLIC',
    ],
    ...[
      'NODE_OPTIONS',
      'HTTPS_PROXY',
      'NO_PROXY',
      'PGHOST',
      'CI',
      'TERM',
      'SHLVL',
      'INIT_CWD',
      'npm_package_version',
    ],
  ])('is not %s', (name) => {
    expect(findLookalikes({ [name]: 'x' }, SETTING_NAMES)).toEqual([])
  })

  test('is no setting itself', () => {
    expect(
      findLookalikes(Object.fromEntries(SETTING_NAMES.map((name) => [name, 'x'])), SETTING_NAMES),
    ).toEqual([])
  })
})
