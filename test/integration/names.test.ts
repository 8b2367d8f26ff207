import { lookup as systemLookup } from 'node:dns/promises'
import { writeFile } from 'node:fs/promises'
import { describe, expect, test } from '@jest/globals'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { openResolver, toLookup, type ResolverOptions } from '../../src/net/lookup.ts'
import { startDnsServer, type DnsAnswer } from '../support/dns-server.ts'
import { startGateway } from '../support/gateway.ts'
import { json, startScriptedUpstream, text } from '../support/scripted-upstream.ts'
import { openTempDir } from '../support/temp-dir.ts'

const UPSCALE = (source: string, callBackUrl = '') => `mutation {
  upscaleImage(input: { taskId: "${source}", imageIndex: 0${callBackUrl && `, callBackUrl: "${callBackUrl}"`} }) {
    task { id } problem { code taskId }
  }
}`

/** A name server on which A records are these, and everything else is unknown. */
const startNames = (names: Record<string, DnsAnswer>) =>
  startDnsServer((name, type) => {
    const said = names[name] ?? 'NXDOMAIN'
    return type === 'A' || !/^\d/.test(said) ? said : 'NODATA'
  })

const portOf = ({ url }: { url: string }) => new URL(url).port

test('an upstream whose name hangs in DNS holds up no keys, no callbacks and no other name', async () => {
  await using dns = await startNames({
    'upstream.example.com': 'SILENCE',
    'keys.example.com': '127.0.0.1',
    'hooks.example.com': '127.0.0.1',
  })
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  await using keys = await startScriptedUpstream()
  keys.onLookup = json(200, { keys: [{ ...(await exportJWK(publicKey)), alg: 'ES256', kid: 'k' }] })
  await using receiver = await startScriptedUpstream()
  receiver.onCreate = text(204, '')
  await using gateway = await startGateway(
    {
      UPSTREAM_URL: 'http://upstream.example.com:1',
      UPSTREAM_API_KEY: 'key',
      UPSTREAM_TIMEOUT_MS: '1000',
      AUTH_JWKS_URL: `http://keys.example.com:${portOf(keys)}/jwks`,
      CALLBACK_ALLOW_HOSTS: 'hooks.example.com',
      CALLBACK_SIGNING_SECRETS: 'whsec_c2VjcmV0LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nzg5',
    },
    { nameServers: [dns.address] },
  )
  const token = await new SignJWT({})
    .setSubject('alice')
    .setProtectedHeader({ alg: 'ES256', kid: 'k' })
    .sign(privateKey)
  const run = (query: string) =>
    fetch(`${gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ query }),
    })
  const callBackUrl = `http://hooks.example.com:${portOf(receiver)}/hook`
  const submits = Array.from({ length: 40 }, (_, n) => run(UPSCALE(`source-${n}`, callBackUrl)))
  while (!dns.asked.includes('upstream.example.com A')) await new Promise(setImmediate)
  // While they hang: keys are fetched, and the resolver that the database uses has threads to spare.
  expect((await run('{ upscaleService { mode } }')).status).toBe(200)
  expect((await systemLookup('localhost', { family: 4 })).address).toBe('127.0.0.1')
  // What could not be resolved was not sent: each submit is refused without a charge, and its receiver is
  // told.
  for (const { status } of await Promise.all(submits)) expect(status).toBe(200)
  while (receiver.received.length < 40) await new Promise(setImmediate)
  expect(gateway.log()).toContain('nothing was sent')
})

describe('a lookup', () => {
  const resolve = async (options: ResolverOptions, hostname: string, all = true) => {
    using resolver = openResolver(options)
    const lookup = toLookup(resolver)
    return await new Promise((done) =>
      lookup(hostname, { all }, (error, found) => done(error === null ? found : error.code)),
    )
  }

  test('has the addresses of both families, and does not wait for the one that does not answer', async () => {
    await using dns = await startDnsServer((name, type) => {
      if (name === 'both.test') return type === 'A' ? '192.0.2.1' : '2001:db8:0:0:0:0:0:1'
      if (name === 'slow6.test') return type === 'A' ? '192.0.2.1' : 'SILENCE'
      if (name === 'slow4.test') return type === 'A' ? 'SILENCE' : '2001:db8:0:0:0:0:0:1'
      return type === 'A' ? 'NODATA' : '2001:db8:0:0:0:0:0:1'
    })
    const options = { servers: [dns.address] }
    const four = { address: '192.0.2.1', family: 4 }
    const six = { address: '2001:db8::1', family: 6 }
    expect(await resolve(options, 'both.test')).toEqual([four, six])
    expect(await resolve(options, 'slow6.test')).toEqual([four])
    expect(await resolve(options, 'slow4.test')).toEqual([six])
    expect(await resolve(options, 'only6.test')).toEqual([six])
    expect(await resolve(options, 'both.test', false)).toBe('192.0.2.1')
  })

  test('reads the hosts file first, and again when it has changed', async () => {
    await using dir = await openTempDir()
    await using dns = await startNames({ 'other.test': '192.0.2.9' })
    const hosts = `${dir.path}/hosts`
    await writeFile(hosts, '# none\n192.0.2.1 db.Test db # ours\n2001:db8::1 db.test\nnonsense x\n')
    using resolver = openResolver({ hosts, servers: [dns.address] })
    const lookup = toLookup(resolver)
    const find = (name: string) =>
      new Promise((done) => lookup(name, { all: true }, (error, found) => done(error?.code ?? found)))
    const [four, six] = [
      { address: '192.0.2.1', family: 4 },
      { address: '2001:db8::1', family: 6 },
    ]
    expect(await find('DB.test.')).toEqual([four, six])
    expect(await find('db')).toEqual([four])
    expect(await find('x')).toBe('ENOTFOUND')
    await writeFile(hosts, '192.0.2.22 db.test\n')
    expect(await find('db.test')).toEqual([{ address: '192.0.2.22', family: 4 }])
    expect(await find('other.test')).toEqual([{ address: '192.0.2.9', family: 4 }])
  })

  test.each(['localhost', 'LOCALHOST', 'localhost.', 'app.localhost'])(
    'knows %s without a query',
    async (name) => {
      await using dns = await startNames({})
      const found = await resolve({ hosts: '/nowhere', servers: [dns.address] }, name)
      expect(found).toEqual([
        { address: '127.0.0.1', family: 4 },
        { address: '::1', family: 6 },
      ])
      expect(dns.asked).toEqual([])
    },
  )

  test('notices that resolv.conf names other servers, and tries its search domains', async () => {
    await using dir = await openTempDir()
    await using first = await startNames({ 'api.one.svc.test': '192.0.2.1', 'api.one': '192.0.2.100' })
    await using second = await startNames({ 'api.svc.test': '192.0.2.2', 'deep.name.test': '192.0.2.3' })
    const resolvConf = `${dir.path}/resolv.conf`
    const write = ({ address }: { address: string }, rest: string) =>
      writeFile(resolvConf, `; comment\nnameserver ${address.replace(/(.*):/, '[$1]:')}\n${rest}`)
    await write(first, 'search a.test svc.test.\noptions timeout:1 ndots:2\n')
    using resolver = openResolver({ hosts: '/nowhere', resolvConf })
    const lookup = toLookup(resolver)
    const find = (name: string) =>
      new Promise((done) => lookup(name, {}, (error, found) => done(error?.code ?? found)))
    // One dot is fewer than two: the search domains come first.
    expect(await find('api.one')).toBe('192.0.2.1')
    expect(await find('api.one.')).toBe('192.0.2.100')
    expect(first.asked).toContain('api.one.a.test A')
    await write(second, 'domain svc.test\n')
    expect(await find('api')).toBe('192.0.2.2')
    expect(await find('deep.name.test')).toBe('192.0.2.3')
    expect(second.asked).not.toContain('deep.name.test.svc.test A')
    expect(await find('nobody')).toBe('ENOTFOUND')
  })
})
