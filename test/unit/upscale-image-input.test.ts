import 'reflect-metadata'
import { describe, expect, test } from '@jest/globals'
import { GraphQLError } from 'graphql'
import { isPublicHost } from '../../src/graphql/public-host.ts'
import { parseUpscaleImageInput, type UpscaleImageInput } from '../../src/graphql/upscale-image-input.ts'

/** As GraphQL hands it over: a plain object. */
type Input = Pick<UpscaleImageInput, keyof UpscaleImageInput>

const POLICY = {
  canSign: (owner: string) => owner === 'signed',
  allowedHosts: ['hooks.internal', '10.9.8.7'],
}
/** The engine supports every input. */
const CONTEXT = { callbackPolicy: POLICY, tasks: { findInputFault: () => null } }
const parse = (input: Input, owner = 'signed') => parseUpscaleImageInput(input, owner, CONTEXT)

const INPUT: Input = { taskId: 'source-1', imageIndex: 0 }

/** What an input is refused for; undefined when it is taken. */
function faultOf(facts: Partial<Input>): GraphQLError | undefined {
  try {
    parse({ ...INPUT, ...facts })
    return undefined
  } catch (error) {
    if (error instanceof GraphQLError) return error
    throw error
  }
}

const refusedFor = (field: string) => ({ extensions: { code: 'BAD_USER_INPUT', field } })

describe('an input of upscaleImage', () => {
  test('with nothing but the required fields has no watermark, no key, no force and no queue', () => {
    expect(parse(INPUT)).toEqual({
      owner: 'signed',
      engine: null,
      sourceTaskId: 'source-1',
      imageIndex: 0,
      waterMark: null,
      callBackUrl: null,
      idempotencyKey: null,
      force: false,
      queue: false,
    })
  })

  test('means with null what it means without the field', () => {
    const nulls = { waterMark: null, callBackUrl: null, idempotencyKey: null, force: null, queue: null }
    expect(parse({ ...INPUT, ...nulls })).toEqual(parse(INPUT))
  })

  test('is taken as it is', () => {
    const facts = { imageIndex: 3, waterMark: ' © Ann ', idempotencyKey: ' a key ', force: true, queue: true }
    expect(parse({ taskId: 'mj_task_1', ...facts })).toEqual({
      owner: 'signed',
      engine: null,
      callBackUrl: null,
      sourceTaskId: 'mj_task_1',
      ...facts,
    })
  })

  test.each([0, 1, 2, 3])('may have the imageIndex %i', (imageIndex) => {
    expect(faultOf({ imageIndex })).toBeUndefined()
  })

  test.each([-1, 4, 100, -2_147_483_648, 2_147_483_647])('may not have the imageIndex %i', (imageIndex) => {
    expect(faultOf({ imageIndex })).toMatchObject(refusedFor('imageIndex'))
  })

  test.each([
    ['one character', 'x'],
    ['32 hexadecimal digits', '2584469c38e43c173dcae9e60663f645'],
    ['a UUID', '0d3a4cc2-6a55-4b0e-9c3f-64c3b8e1a2f0'],
    ['a prefixed id', 'mj_task_abcdef1234567890'],
    ['a plain space', 'task 1'],
    ['letters of any script', 'tâche-задача-作業'],
    ['128 characters', 'x'.repeat(128)],
  ])('may have a taskId of %s', (_name, taskId) => {
    expect(faultOf({ taskId })).toBeUndefined()
  })

  test.each([
    ['nothing', ''],
    ['129 characters', 'x'.repeat(129)],
    ['a line break', 'task\n1'],
    ['a trailing line break', 'task\n'],
    ['a tab', 'task\t1'],
    ['a NUL', 'task\u0000'],
    ['a delete', 'task\u007f'],
    ['a C1 control', 'task\u0085'],
    ['a zero-width space', 'task\u200b1'],
    ['a soft hyphen', 'task\u00ad1'],
    ['an override of the direction', '\u202etask'],
    ['a line separator', 'task\u20281'],
    ['half a character', 'task\ud800'],
    ['a leading space', ' task'],
    ['a trailing space', 'task '],
    ['a no-break space around it', '\u00a0task'],
    ['an ideographic space', 'task\u3000'],
    ['nothing but a Hangul filler', '\u3164'],
    ['nothing but a blank Braille pattern', '\u2800'],
    ['nothing but a variation selector', '\ufe0f'],
    ['nothing but a grapheme joiner', '\u034f'],
    ['nothing but a musical null notehead', '\u{1d159}'],
    ['a Khitan filler at its end', 'task\u{16fe4}'],
    ['a hieroglyphic blank at its end', 'task\u{13441}'],
    ['nothing but a zero-width space', '\u200b'],
    ['an invisible character at its end', 'task\u3164'],
    ['a variation selector within', 'ta\ufe0fsk'],
    ['a Khmer inherent vowel', 'task\u17b4'],
    ['a tag character', 'task\u{e0041}'],
    ['letters in decomposed form', 'ta\u0302che'],
    ['a character that nobody has assigned', 'task\uffff'],
  ])('may not have a taskId of or with %s', (_name, taskId) => {
    expect(faultOf({ taskId })).toMatchObject(refusedFor('taskId'))
  })

  test.each(['', 'x', '© Ann 2026', 'x'.repeat(256)])('may have the waterMark %j', (waterMark) => {
    expect(faultOf({ waterMark })).toBeUndefined()
  })

  test.each(['\u0000', 'a\u0000b', '\ud800'])(
    'may not have the waterMark %j, which not all stores take',
    (waterMark) => {
      expect(faultOf({ waterMark })).toMatchObject(refusedFor('waterMark'))
    },
  )

  test('may not have a waterMark of more than 256 characters', () => {
    expect(faultOf({ waterMark: 'x'.repeat(257) })).toMatchObject(refusedFor('waterMark'))
  })

  test.each(['k', 'order 17 / picture 2', 'k'.repeat(128)])('may have the idempotencyKey %j', (key) => {
    expect(faultOf({ idempotencyKey: key })).toBeUndefined()
  })

  test.each(['', 'k'.repeat(129)])('may not have the idempotencyKey %j', (key) => {
    expect(faultOf({ idempotencyKey: key })).toMatchObject(refusedFor('idempotencyKey'))
  })
})

/** Spellings of hosts that are not on the public internet, as a caller may write them in a URL. */
const PRIVATE: Record<string, readonly string[]> = {
  'loopback by name': [
    'localhost',
    'LOCALHOST',
    'localhost.',
    'app.localhost',
    'a.b.localhost.',
    'ｌｏｃａｌhost',
  ],
  'loopback by an escaped name': ['%6c%6f%63%61%6c%68%6f%73%74', 'loc%61lhost'],
  'loopback by number': [
    ...['127.0.0.1', '127.0.0.1.', '127.1', '127.0.1', '127.255.255.254', '2130706433', '017700000001'],
    ...['0x7f000001', '0x7f.1', '0177.0.0.1', '0x7f.0x0.0x0.0x1', '127。0。0。1', '①②⑦.⓪.⓪.①'],
  ],
  'loopback by version 6': ['[::1]', '[0:0:0:0:0:0:0:1]', '[0000::0001]'],
  'loopback mapped into version 6': [
    ...['[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[0:0:0:0:0:ffff:7f00:0001]', '[::FFFF:127.0.0.1]'],
    ...['[::127.0.0.1]', '[64:ff9b::127.0.0.1]', '[::ffff:0:127.0.0.1]', '[2002:7f00:1::]'],
  ],
  'nowhere in particular': ['0.0.0.0', '0', '0x0', '0.1.2.3', '[::]', '[::ffff:0.0.0.0]'],
  'private networks': [
    ...['10.0.0.1', '10.255.255.255', '172.16.0.1', '172.31.255.255', '192.168.0.1', '192.168.255.255'],
    ...['3232235777', '0xc0.0xa8.1.1', '[::ffff:10.0.0.1]', '[::ffff:192.168.1.1]', '[fc00::1]', '[fd12::1]'],
    ...['[fec0::1]', '100.64.0.1', '100.127.255.255'],
  ],
  'the machine’s own link': [
    ...['169.254.169.254', '0xa9fea9fe', '2852039166', '169.254.0.1', '[::ffff:169.254.169.254]'],
    ...['[::ffff:a9fe:a9fe]', '[fe80::1]', '[febf::1]', '[fd00:ec2::254]'],
  ],
  'groups and reserves': [
    ...['224.0.0.1', '239.255.255.255', '240.0.0.1', '255.255.255.255', '192.0.2.1', '198.18.0.1'],
    ...['198.51.100.1', '203.0.113.1', '192.0.0.1', '[ff02::1]', '[2001:db8::1]', '[100::1]'],
  ],
  'names of private networks': [
    ...['metadata.google.internal', 'host.docker.internal', 'db.internal.', 'printer.local', 'nas.lan'],
    ...['router.home.arpa', 'wiki.corp', 'wiki.intranet', 'pc.home', 'API.INTERNAL'],
  ],
  'names without a domain': ['gateway', 'postgres', 'metadata', 'internal', 'local.', 'com'],
  'names that are none': ['localhost..', '127.0.0.1..', '.localhost'],
}
const PRIVATE_HOSTS = Object.entries(PRIVATE).flatMap(([what, hosts]) =>
  hosts.map((host) => [what, host] as const),
)

const PUBLIC_HOSTS = [
  ...['example.com', 'example.com.', 'hooks.example.co.uk', 'EXAMPLE.com', 'bücher.example.com', 'a.dev'],
  // Close to a private one.
  ...[
    'localhost.example.com',
    'internal.example.com',
    'local.example.com',
    'mylocalhost.com',
    'notinternal.com',
  ],
  ...['127.0.0.1.example.com', '10.0.0.1.nip.io.example.com', 'lan.party', 'home.page', 'corp.com'],
  ...['1.1.1.1', '8.8.8.8', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255'],
  ...['128.0.0.1', '134744072', '169.253.255.255', '169.255.0.0', '172.15.255.255', '172.32.0.0'],
  ...['192.167.255.255', '192.169.0.0', '223.255.255.254'],
  ...['[2606:4700:4700::1111]', '[2a00:1450:4001:81b::200e]', '[::ffff:8.8.8.8]'],
]

describe('a host', () => {
  test.each(PRIVATE_HOSTS)('is not public: %s, written %s', (_what, host) => {
    expect(isPublicHost(new URL(`https://${host}/hook`).hostname)).toBe(false)
  })

  test.each(PUBLIC_HOSTS)('is public: %s', (host) => {
    expect(isPublicHost(new URL(`https://${host}/hook`).hostname)).toBe(true)
  })
})

describe('a callBackUrl', () => {
  /** Says what a URL must be, as opposed to any other reason not to take it. */
  const RULE = /http\(s\) URL of a public host, without user info/

  test.each(PRIVATE_HOSTS)('is refused for its host: %s, written %s', (_what, host) => {
    for (const url of [`https://${host}/hook`, `http://${host}:8080/hook`]) {
      const fault = faultOf({ callBackUrl: new URL(url) })
      expect(fault).toMatchObject(refusedFor('callBackUrl'))
      expect(fault?.message).toMatch(RULE)
    }
  })

  test.each([
    'https://user@example.com/hook',
    'https://user:pass@example.com/hook',
    'https://:pass@example.com/hook',
    'https://example.com@127.0.0.1/hook',
    'https://127.0.0.1@example.com/hook',
    'ftp://example.com/hook',
    'ws://example.com/hook',
    'file:///etc/passwd',
    'file://example.com/hook',
    'javascript:alert(1)',
    'data:text/plain,hook',
    'mailto:ann@example.com',
    'gopher://example.com/',
    'unix:/var/run/docker.sock',
    // WHATWG parsing makes a backslash a slash: the host is what stands before it.
    'https://127.0.0.1\\@example.com/hook',
    'https:\\\\127.0.0.1\\hook',
    'https:127.0.0.1/hook',
  ])('is refused for what else it is: %s', (url) => {
    const fault = faultOf({ callBackUrl: new URL(url) })
    expect(fault).toMatchObject(refusedFor('callBackUrl'))
    expect(fault?.message).toMatch(RULE)
  })

  test.each(PUBLIC_HOSTS)('may be of a public host: %s', (host) => {
    for (const url of [`https://${host}/hook`, `http://${host}:8080/hook?a=b`])
      expect(parse({ ...INPUT, callBackUrl: new URL(url) }).callBackUrl).toBe(new URL(url).href)
  })

  test('may be of a private host that is allowed, and of no other', () => {
    for (const url of ['http://hooks.internal:8080/x', 'http://10.9.8.7/'])
      expect(faultOf({ callBackUrl: new URL(url) })).toBeUndefined()
    for (const url of ['http://a.hooks.internal/', 'http://10.9.8.6/'])
      expect(faultOf({ callBackUrl: new URL(url) })?.message).toMatch(RULE)
  })

  test('may have 2,048 characters and no more', () => {
    const url = (length: number) => new URL(`https://example.com/${'x'.repeat(length - 20)}`)
    expect(faultOf({ callBackUrl: url(2_048) })).toBeUndefined()
    expect(faultOf({ callBackUrl: url(2_049) })).toMatchObject(refusedFor('callBackUrl'))
  })

  test('is refused where nothing can be signed for its owner, and says what the operator has to set', () => {
    const callBackUrl = new URL('https://example.com/hook')
    expect(() => parse({ ...INPUT, callBackUrl }, 'somebody')).toThrow(/CALLBACK_SIGNING_SECRETS/)
    expect(parse(INPUT, 'somebody')).toMatchObject({ callBackUrl: null })
  })
})
