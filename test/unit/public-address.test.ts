import { expect, test } from '@jest/globals'
import { isPublicAddress } from '../../src/net/public-address.ts'

/** As a lookup or a socket spells them; hosts in URLs are in upscale-image-input.test.ts. */
const PRIVATE = [
  ...['::7f00:1', '::127.0.0.1', '::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:0:7f00:1', '::', '::1', '1::'],
  ...['fe00::1', 'fe80::1', 'fe80::1%eth0', 'fec0::1', 'fc00::1', 'fd00:ec2::254', 'fd20:ce::254', 'ff02::1'],
  ...[
    '64:ff9b::7f00:1',
    '64:ff9b::10.0.0.1',
    '64:ff9b::a9fe:a9fe',
    '64:ff9b:1::808:808',
    '100::1',
    '5f00::1',
  ],
  ...['2001::1', '2001:0:a00:1::', '2002:7f00:1::', '2002:808:808::', '2001:db8::1', '3fff::1', '4000::1'],
  ...['127.0.0.1', '0.0.0.0', '10.0.0.1', '172.16.0.1', '192.168.0.1', '100.64.0.1', '255.255.255.255'],
  // Where clouds keep credentials.
  ...[
    '169.254.169.254',
    '168.63.129.16',
    '::ffff:168.63.129.16',
    '64:ff9b::168.63.129.16',
    '100.100.100.200',
  ],
  ...['192.0.0.192', '169.254.170.2'],
  ...['', 'example.com', '127.1.', '1.2.3.4.5', '[::1]', '2606:4700::%'],
]
const PUBLIC = [
  ...['8.8.8.8', '168.63.129.15', '168.63.129.17', '::ffff:8.8.8.8', '2606:4700:4700::1111'],
  ...['2a00:1450:4001:81b::200e', '64:ff9b::8.8.8.8', '3ffe::1'],
]

test.each(PRIVATE)('%j is not a public address', (address) => {
  expect(isPublicAddress(address)).toBe(false)
})

test.each(PUBLIC)('%s is a public address', (address) => {
  expect(isPublicAddress(address)).toBe(true)
})
