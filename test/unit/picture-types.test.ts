import { open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { toMediaType } from '../../src/results/media-types.ts'
import { readContainer } from '../../src/results/provenance.ts'
import { toChunk } from '../support/picture-files.ts'
import { openTempDir } from '../support/temp-dir.ts'

const HEADS: readonly (readonly [string, string])[] = [
  ['\x89PNG\r\n\x1a\n', 'image/png'],
  // The line ends were changed on the way.
  ['\x89PNG\n\x1a\n', 'other'],
  ['\xff\xd8\xff\xe0', 'image/jpeg'],
  ['\xff\xd8', 'text'],
  ['RIFF\x10\0\0\0WEBPVP8X', 'image/webp'],
  ['RIFF\x10\0\0\0WAVEfmt ', 'other'],
  ['GIF89a', 'image/gif'],
  ['GIF88a', 'text'],
  ['II*\0\x08\0\0\0', 'image/tiff'],
  ['MM\0+\0\x08', 'image/tiff'],
  ['\0\0\0\x1cftypavif\0\0\0\0mif1miaf', 'image/avif'],
  ['\0\0\0\x18ftypmif1\0\0\0\0mif1avis', 'image/avif'],
  // The brand is behind the box.
  ['\0\0\0\x14ftypmif1\0\0\0\0mif1avif', 'other'],
  // The version is no brand.
  ['\0\0\0\x14ftypmif1avifmif1', 'other'],
  ['\0\0\0\x18ftypisom\0\0\0\0isommp42', 'other'],
  ['\xef\xbb\xbf<?xml version="1.0"?><svg/>', 'svg'],
  ['<!DOCTYPE svg PUBLIC "x">', 'svg'],
  ['<svgx>', 'text'],
  ['<html><svg>', 'html'],
  ['<header>', 'text'],
  ['\xff\xfe<\0h\0t\0m\0l\0>\0', 'text'],
  ['plain', 'text'],
  ['BM\x3a\0', 'other'],
]

test.each(HEADS)('%j is recognized as %s', (head, type) => {
  expect(toMediaType(Buffer.from(head, 'latin1'))).toBe(type)
})

test('a page with very many comments is recognized quickly', () => {
  const startedAt = performance.now()
  expect(toMediaType(Buffer.from('<!-- -->'.repeat(500)))).toBe('text')
  expect(performance.now() - startedAt).toBeLessThan(1_000)
})

const CONTAINERS = [
  ['image/png', '\x89PNG\r\n\x1a\n'],
  ['image/jpeg', '\xff\xd8'],
  ['image/webp', 'RIFF\0\0\0\0WEBP'],
] as const

test.each(CONTAINERS)('reading any bytes in a container of the type %s ends', async (type, head) => {
  await using dir = await openTempDir()
  const path = join(dir.path, 'file')
  const read = async (bytes: Uint8Array) => {
    await writeFile(path, Buffer.concat([Buffer.from(head, 'latin1'), bytes]))
    await using file = await open(path)
    expect((await readContainer(file, type)).provenance).toBe('NONE')
  }
  await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), read), { numRuns: 100 })
  // Parts without content, as many as there can be.
  for (const part of ['\0', '\xff', '\xff\xe0\0\0'])
    await read(Buffer.from(part.repeat(400_000 / part.length), 'latin1'))
})

test('a PNG with very many chunks is not searched to its end', async () => {
  await using dir = await openTempDir()
  const path = join(dir.path, 'file')
  const chunks = Array.from({ length: 32_768 }, () => toChunk('teXt', Buffer.alloc(0)))
  await writeFile(path, Buffer.concat([Buffer.alloc(8), ...chunks, toChunk('caBX', Buffer.alloc(0))]))
  await using file = await open(path)
  expect(await readContainer(file, 'image/png')).toEqual({ provenance: 'NONE', isComplete: true })
})
