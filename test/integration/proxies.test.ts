import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { describe, expect, test } from '@jest/globals'
import { parseSettings } from '../../src/settings.ts'
import { findProxy } from '../../src/net/proxies.ts'
import { CERTIFICATE, PRIVATE_KEY } from '../support/certificate.ts'
import { startForwardProxy } from '../support/forward-proxy.ts'
import { startGateway } from '../support/gateway.ts'
import { json, startScriptedUpstream } from '../support/scripted-upstream.ts'
import { UpscaleImageDocument } from '../generated/operations.ts'

setDefaultCACertificates([...getCACertificates(), CERTIFICATE])

const CREDENTIALS = 'Basic dXNlcjpwQHNz'
const SETTINGS = {
  UPSTREAM_API_KEY: 'key',
  AUTH_MODE: 'none',
  CALLBACK_SIGNING_SECRETS: 'whsec_c2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nzg5',
}

/** A gateway before an upstream that only the proxy can find. */
async function openScene(protocol: 'http' | 'https', settings: Record<string, string> = {}) {
  await using opened = new AsyncDisposableStack()
  const tls = { key: PRIVATE_KEY, cert: CERTIFICATE }
  const upstream = opened.use(await startScriptedUpstream(protocol === 'https' ? tls : undefined))
  const proxy = opened.use(await startForwardProxy())
  proxy.hosts['upstream.example.com'] = new URL(upstream.url).host
  const gateway = opened.use(
    await startGateway({
      ...SETTINGS,
      UPSTREAM_URL: `${protocol}://upstream.example.com`,
      HTTP_PROXY: proxy.url,
      https_proxy: proxy.url,
      ...settings,
    }),
  )
  const rest = opened.move()
  return {
    upstream,
    proxy,
    gateway,
    submit: (input: object = {}) =>
      gateway.run('HTTP', UpscaleImageDocument, { input: { taskId: 's', imageIndex: 0, ...input } }),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

describe('a proxy', () => {
  test.each([
    ['http', `POST http://upstream.example.com/api/v1/mj/generateUpscale ${CREDENTIALS}`],
    ['https', `CONNECT upstream.example.com:443 ${CREDENTIALS}`],
  ] as const)(
    'takes requests to an %s upstream there, and its credentials are not logged',
    async (protocol, asked) => {
      await using scene = await openScene(protocol)
      const { data } = await scene.submit()
      expect(data?.upscaleImage).toMatchObject({ problem: null, task: { status: 'PROCESSING' } })
      expect(scene.proxy.asked).toEqual([asked])
      expect(scene.gateway.log()).toContain(new URL(scene.proxy.url).host)
      expect(scene.gateway.log()).not.toMatch(/p%40ss|p@ss|dXNlcjpwQHNz/)
    },
  )

  test.each([407, 502, 403, null])(
    'that answers CONNECT with %s proves that nothing was sent',
    async (refusal) => {
      // Only the proxy that does not answer is waited for so long, and by then it has been asked.
      await using scene = await openScene('https', { UPSTREAM_TIMEOUT_MS: '2000' })
      scene.proxy.refusal = refusal
      const { data } = await scene.submit()
      expect(data?.upscaleImage).toMatchObject({ task: null, problem: { code: 'UPSTREAM_UNREACHABLE' } })
      expect(scene.proxy.asked).toHaveLength(1)
      expect(scene.upstream.received).toEqual([])
      expect(scene.gateway.log()).not.toMatch(/p%40ss|p@ss|dXNlcjpwQHNz/)
    },
  )

  test.each(['http', 'https'] as const)(
    'that cannot be reached proves that nothing was sent: %s',
    async (protocol) => {
      const gone = await startForwardProxy()
      await gone[Symbol.asyncDispose]()
      await using scene = await openScene(protocol, { HTTP_PROXY: gone.url, https_proxy: gone.url })
      const { data } = await scene.submit()
      expect(data?.upscaleImage).toMatchObject({ task: null, problem: { code: 'UPSTREAM_UNREACHABLE' } })
    },
  )

  test.each(['http', 'https'] as const)('does not hide that an answer was lost: %s', async (protocol) => {
    await using scene = await openScene(protocol)
    scene.upstream.onCreate = (response) => response.destroy()
    const { data } = await scene.submit()
    expect(data?.upscaleImage).toMatchObject({ problem: null, task: { status: 'SUBMITTED' } })
    expect(scene.upstream.received).toHaveLength(1)
  })

  test('is used for keys and deliveries, and not for hosts in NO_PROXY', async () => {
    await using keys = await startScriptedUpstream()
    keys.onLookup = (response) => response.destroy()
    await using receiver = await startScriptedUpstream()
    await using scene = await openScene('http', {
      AUTH_MODE: 'jwt',
      AUTH_JWKS_URL: 'http://keys.example.com/jwks',
    })
    scene.proxy.hosts['keys.example.com'] = new URL(keys.url).host
    const token = `${btoa('{"alg":"ES256","kid":"k"}')}.${btoa('{"sub":"alice"}')}.x`.replaceAll('=', '')
    await fetch(`${scene.gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ query: '{ __typename }' }),
    })
    expect(scene.proxy.asked).toContain(`GET http://keys.example.com/jwks ${CREDENTIALS}`)
    expect(keys.received).toHaveLength(1)
    expect(scene.gateway.log()).toContain('keys of AUTH_JWKS_URL are not available')
    expect(scene.gateway.log()).not.toMatch(/p%40ss|p@ss|dXNlcjpwQHNz/)

    await using open = await openScene('http', { NO_PROXY: 'upstream.example.com' })
    const direct = await open.submit()
    expect(direct.data?.upscaleImage?.problem?.code).toBe('UPSTREAM_UNREACHABLE')
    expect(open.proxy.asked).toEqual([])
    await using delivering = await openScene('http')
    delivering.proxy.hosts['hooks.example.com'] = new URL(receiver.url).host
    delivering.upstream.onCreate = json(200, { code: 402, msg: 'No.' })
    await delivering.submit({ callBackUrl: 'http://hooks.example.com/hook' })
    while (receiver.received.length === 0) await new Promise(setImmediate)
    expect(delivering.proxy.asked).toContain(`POST http://hooks.example.com/hook ${CREDENTIALS}`)
    const refused = await delivering.submit({ callBackUrl: 'http://10.0.0.1/hook', taskId: 't' })
    expect(refused.errors?.[0]?.extensions).toMatchObject({ code: 'BAD_USER_INPUT', field: 'callBackUrl' })
  })
})

describe('which proxy a URL has', () => {
  const proxies = { http: 'http://plain:1', https: 'http://secure:2', noProxy: [] }
  test.each([
    ['http://a.example.com/', [], 'plain:1'],
    ['https://a.example.com/', [], 'secure:2'],
    ['https://a.example.com/', ['*'], undefined],
    ['https://a.example.com/', ['example.com'], undefined],
    ['https://a.example.com./', ['.EXAMPLE.com'], undefined],
    ['https://a.example.com/', ['*.example.com'], undefined],
    ['https://example.com/', ['.example.com'], undefined],
    ['https://notexample.com/', ['example.com'], 'secure:2'],
    ['https://a.example.com/', ['a.example.com:443'], undefined],
    ['https://a.example.com:8443/', ['a.example.com:443'], 'secure:2'],
    ['https://192.0.2.7/', ['192.0.2.7'], undefined],
    ['https://192.0.2.7/', ['192.0.2.0/24'], undefined],
    ['https://192.0.3.7/', ['192.0.2.0/24', '2001:db8::/32', '2.7'], 'secure:2'],
    ['https://[2001:db8::1]/', ['2001:db8::/32'], undefined],
    ['https://[2001:db8::1]/', ['[2001:db8:0::1]:443'], undefined],
    ['http://127.0.0.1/', [], undefined],
    ['http://[::1]/', [], undefined],
    ['http://app.localhost/', [], undefined],
    ['http://a.example.com/', ['', '.'], 'plain:1'],
  ])('%s but for %j: %s', (url, noProxy, host) => {
    expect(findProxy({ ...proxies, noProxy }, new URL(url))?.host).toBe(host)
  })

  test('is read from the environment, in lower case first, without a scheme too', () => {
    const { proxies } = parseSettings({
      HTTPS_PROXY: 'http://upper:1',
      https_proxy: 'lower:3128',
      HTTP_PROXY: '',
      no_proxy: ' a.example.com, .b ,c',
    })
    expect(proxies).toEqual({ http: null, https: 'http://lower:3128', noProxy: ['a.example.com', '.b', 'c'] })
  })

  test.each([
    'socks5://proxy:1080',
    'http://',
    'http://proxy/path',
    'http://u:%zz@proxy',
    'http://a b',
    'proxy:99999',
  ])('is refused at start if it is %s', (proxy) => {
    const read = () => parseSettings({ HTTPS_PROXY: proxy })
    expect(read).toThrow(/HTTPS_PROXY must be http:\/\/HOST:PORT/)
  })
})
