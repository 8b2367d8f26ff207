/** ENGINES, and the settings per engine. */
import { describe, expect, test } from '@jest/globals'
import { SettingsError, parseSettings } from '../../src/settings.ts'

type Environment = Record<string, string>

/** The faults of these settings, one each. */
function faultsOf(environment: Environment): string[] {
  try {
    parseSettings(environment)
    return []
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error
    return error.message
      .split('\n')
      .slice(1)
      .map((line) => line.slice('  - '.length))
  }
}

const enginesOf = (environment: Environment) => parseSettings(environment).engines
const LIVE = { AUTH_MODE: 'none' }
const PLAIN = { url: null, keys: [], model: null, factor: null, hosts: [] }

describe('ENGINES', () => {
  test('is kie-midjourney alone by default', () => {
    expect(enginesOf({})).toMatchObject([{ name: 'kie-midjourney', adapter: 'kie-midjourney', ...PLAIN }])
  })

  test('names adapters, in order, and engines with names of their own', () => {
    const value = 'legnext, jobs=kie-jobs,kie-midjourney,\n proxy=midjourney-proxy:http://proxy:8080/base/'
    expect(enginesOf({ ENGINES: value.replace('\n', '') })).toMatchObject([
      { name: 'legnext', adapter: 'legnext', ...PLAIN },
      { name: 'jobs', adapter: 'kie-jobs', ...PLAIN },
      { name: 'kie-midjourney', adapter: 'kie-midjourney', ...PLAIN },
      { name: 'proxy', adapter: 'midjourney-proxy', ...PLAIN, url: 'http://proxy:8080/base' },
    ])
  })

  test.each<[string, object]>([
    ['kie-jobs?factor=4', { factor: 4, model: null }],
    ['kie-jobs?model=recraft/crisp-upscale', { factor: null, model: 'recraft/crisp-upscale' }],
    ['kie-jobs?model=topaz/image-upscale&factor=1', { factor: 1, model: 'topaz/image-upscale' }],
    [
      'kie-jobs:https://api.example.com?factor=2&hosts=cdn.example.com',
      { url: 'https://api.example.com', factor: 2, hosts: ['cdn.example.com'] },
    ],
    ['legnext?hosts=a.example+B.example', { hosts: ['a.example', 'b.example'] }],
    ['legnext:http://[::1]:8080', { url: 'http://[::1]:8080' }],
    ['a=legnext:http://host/x=y', { name: 'a', url: 'http://host/x=y' }],
  ])('has options: %s', (value, expected) => {
    expect(enginesOf({ ENGINES: value })).toMatchObject([expected])
  })

  test.each([
    ['unknown', /^ENGINES must be ADAPTER, ADAPTER:URL or NAME=ADAPTER:URL/],
    ['KIE-MIDJOURNEY', /one of kie-midjourney, kie-jobs, midjourney-proxy, legnext$/],
    ['legnext,', /^ENGINES must be ADAPTER/],
    ['Name=legnext', /^ENGINES must be ADAPTER/],
    [`${'n'.repeat(33)}=legnext`, /^ENGINES must be ADAPTER/],
    ['=legnext', /^ENGINES must be ADAPTER/],
    ['legnext:', /^ENGINES must be ADAPTER/],
    ['legnext:ftp://host', /^ENGINES must be ADAPTER/],
    ['legnext:https://host#top', /^ENGINES must be ADAPTER/],
    ['legnext:https://user:secret@host', /a URL is http\(s\) without user info or fragment$/],
    ['legnext:https://', /a URL is http\(s\) without user info or fragment$|must be ADAPTER/],
    ['legnext?factor=2', /no other parameters for legnext than hosts, each once$/],
    ['kie-jobs?factor=2&factor=4', /no other parameters for kie-jobs than model, factor, hosts, each once$/],
    ['kie-jobs?model=unknown', /must have a model of topaz\/image-upscale or recraft\/crisp-upscale$/],
    ['kie-jobs?factor=3', /must have a factor of 1, 2 or 4$/],
    ['kie-jobs?factor=', /must have a factor of 1, 2 or 4$/],
    [
      'kie-jobs?model=recraft/crisp-upscale&factor=2',
      /must have no factor: recraft\/crisp-upscale has none$/,
    ],
    ['legnext?hosts=a.example:8080', /must have hosts that are host names/],
    ['legnext?hosts=', /must have hosts that are host names/],
    ['legnext,legnext', /must name each engine once: write NAME=ADAPTER:URL/],
    ['legnext,legnext=kie-jobs', /must name each engine once/],
  ])('is refused: %s', (value, fault) => {
    const faults = faultsOf({ ENGINES: value })
    expect(faults).toEqual([expect.stringMatching(fault)])
    expect(faults[0]).not.toContain('secret')
  })

  test('is refused with each of its faults', () => {
    expect(faultsOf({ ENGINES: 'unknown,kie-jobs?factor=3,legnext,legnext' })).toHaveLength(3)
  })
})

describe('the keys of engines', () => {
  test('are those of ENGINE_KEYS, and of UPSTREAM_API_KEY for the engines of kie.ai', () => {
    const engines = enginesOf({
      ...LIVE,
      ENGINES: 'kie-midjourney,kie-jobs,second=kie-midjourney,legnext',
      UPSTREAM_API_KEY: 'shared',
      ENGINE_KEYS: 'second=own=key,legnext=next',
    })
    expect(engines.map(({ name, keys }) => [name, keys])).toEqual([
      ['kie-midjourney', ['shared']],
      ['kie-jobs', ['shared']],
      ['second', ['own=key']],
      ['legnext', ['next']],
    ])
  })

  test('are several while one is replaced, in their order', () => {
    const engines = enginesOf({
      ...LIVE,
      ENGINES: 'kie-midjourney,legnext,second=kie-midjourney',
      UPSTREAM_API_KEY: 'new, old',
      ENGINE_KEYS: 'legnext=new,second=own,legnext=old',
    })
    expect(engines.map(({ name, keys }) => [name, keys])).toEqual([
      ['kie-midjourney', ['new', 'old']],
      ['legnext', ['new', 'old']],
      ['second', ['own']],
    ])
  })

  test('make the mode live, in which callers are authenticated', () => {
    const environment = { ENGINES: 'legnext', ENGINE_KEYS: 'legnext=key' }
    expect(parseSettings({ ...environment, ...LIVE })).toMatchObject({
      mode: 'LIVE',
      engines: [{ url: 'https://api.legnext.ai', keys: ['key'] }],
    })
    expect(faultsOf(environment)).toEqual([expect.stringMatching(/AUTH_MODE=none/)])
  })

  test('are required for each engine in live mode', () => {
    const environment = { ...LIVE, ENGINES: 'kie-midjourney,legnext,kie-jobs' }
    expect(faultsOf({ ...environment, UPSTREAM_API_KEY: 'key' })).toEqual([
      expect.stringMatching(/^ENGINE_KEYS must have a key for legnext/),
    ])
    expect(faultsOf({ ...environment, ENGINE_KEYS: 'legnext=key' })).toEqual([
      expect.stringMatching(/^ENGINE_KEYS must have a key for kie-midjourney/),
      expect.stringMatching(/^ENGINE_KEYS must have a key for kie-jobs/),
    ])
  })

  test("of kie.ai does not go to another vendor's address with a name of its own", () => {
    const environment = { ...LIVE, UPSTREAM_API_KEY: 'key' }
    expect(
      faultsOf({ ...environment, ENGINES: 'kie-midjourney,own=kie-jobs:https://own.example.com' }),
    ).toEqual([expect.stringMatching(/^ENGINE_KEYS must have a key for own/)])
    const engines = 'kie-midjourney:https://api.kie.ai,topaz=kie-jobs?factor=4'
    expect(enginesOf({ ...environment, ENGINES: engines }).flatMap(({ keys }) => keys)).toEqual([
      'key',
      'key',
    ])
  })

  test.each(['legnext', 'legnext=', '=key', 'legnext=a,legnext=a', 'legnext=a b', 'legnext=ä', 'legnext=a,'])(
    'are refused, and not shown: ENGINE_KEYS=%s',
    (value) => {
      expect(faultsOf({ ...LIVE, ENGINES: 'legnext', ENGINE_KEYS: value })).toEqual([
        'ENGINE_KEYS must be NAME=KEY, separated by commas, each key once, keys of printable ASCII',
      ])
    },
  )

  test.each(['secret=', 'other=secret', 'secret==', 'legnext=secret,secret=secret', 'legnext=key,secret==x'])(
    'are not shown when they have no name of an engine: ENGINE_KEYS=%s',
    (value) => {
      const faults = faultsOf({ ...LIVE, ENGINES: 'legnext', ENGINE_KEYS: value })
      expect(faults).not.toEqual([])
      for (const fault of faults) {
        expect(fault).toMatch(/^ENGINE_KEYS must /)
        expect(fault).not.toContain('secret')
      }
    },
  )
})

describe('the URLs of engines', () => {
  test('are those of the vendors in live mode, or UPSTREAM_URL for the engines of kie.ai', () => {
    const environment = {
      ...LIVE,
      ENGINES: 'kie-midjourney,kie-jobs,own=kie-midjourney:https://own.example.com,legnext',
      UPSTREAM_API_KEY: 'key',
      ENGINE_KEYS: 'legnext=key,own=key',
    }
    const urlsOf = (changes: Environment) => enginesOf({ ...environment, ...changes }).map(({ url }) => url)
    expect(urlsOf({})).toEqual([
      'https://api.kie.ai',
      'https://api.kie.ai',
      'https://own.example.com',
      'https://api.legnext.ai',
    ])
    expect(urlsOf({ UPSTREAM_URL: 'https://other.example.com' })).toEqual([
      'https://other.example.com',
      'https://other.example.com',
      'https://own.example.com',
      'https://api.legnext.ai',
    ])
  })

  test('must be set in live mode for a self-hosted engine', () => {
    const environment = { ...LIVE, ENGINES: 'midjourney-proxy', ENGINE_KEYS: 'midjourney-proxy=key' }
    expect(faultsOf(environment)).toEqual([
      'ENGINES must have a URL for midjourney-proxy, such as midjourney-proxy:http://localhost:8080',
    ])
    expect(enginesOf({ ...environment, ENGINES: 'midjourney-proxy:http://proxy:8080' })).toMatchObject([
      { url: 'http://proxy:8080', keys: ['key'] },
    ])
  })
})

describe('the rate limits of engines', () => {
  test('are those of ENGINE_RATE_LIMITS, else UPSTREAM_RATE_LIMIT', () => {
    const engines = enginesOf({
      ENGINES: 'kie-midjourney,kie-jobs,legnext',
      UPSTREAM_RATE_LIMIT: '20/10s',
      ENGINE_RATE_LIMITS: 'legnext=6/60s, kie-jobs=0',
    })
    expect(engines.map(({ rateLimit }) => rateLimit)).toEqual([
      { limit: 20, perMs: 10_000 },
      null,
      { limit: 6, perMs: 60_000 },
    ])
  })

  test.each(['legnext', 'legnext=', 'legnext=20', 'legnext=20/10', 'legnext=1/1s,legnext=2/1s', '=1/1s'])(
    'are refused: %s',
    (value) => {
      expect(faultsOf({ ENGINES: 'legnext', ENGINE_RATE_LIMITS: value })).toEqual([
        expect.stringMatching(/^ENGINE_RATE_LIMITS must be NAME=COUNT\/SECONDSs/),
      ])
    },
  )

  test('are refused for engines that ENGINES does not name', () => {
    expect(faultsOf({ ENGINES: 'legnext,kie-jobs', ENGINE_RATE_LIMITS: 'other=1/1s' })).toEqual([
      'ENGINE_RATE_LIMITS must name engines of ENGINES: other is not one of legnext, kie-jobs',
    ])
  })
})
