import { execFileSync } from 'node:child_process'
import { stat } from 'node:fs/promises'
import { describe, expect, test } from '@jest/globals'
import sharp, { type Sharp } from 'sharp'
import { thumbHashToAverageRGBA, thumbHashToRGBA } from 'thumbhash'
import type { PictureFacts } from '../../src/tasks/task.ts'
import * as files from '../support/picture-files.ts'
import { createDecoder } from '../../src/results/decode.ts'
import { downloadPicture, openPictureScene, serve } from '../support/picture-server.ts'

const logged: string[] = []
const log = (_facts: object, sentence: string) => void logged.push(sentence)
const decoder = createDecoder({ info: log, warn: log, error: log })

const { draw, AVERAGE, WIDTH, HEIGHT } = files

type Expected = Partial<Omit<PictureFacts, 'thumbhash'>> & { readonly average?: Partial<typeof AVERAGE> }
type Make = () => Promise<Buffer> | Buffer

/** The mean luminance of the two halves. */
const GREY = 108 / 255
/** The mean colour as printed, where the blue is paler. */
const PRINTED = { r: 126 / 255, g: 70 / 255, b: 82 / 255 }
const png = () => draw().png().toBuffer()
const jpeg = (picture: Sharp = draw()) => picture.jpeg({ quality: 90 }).toBuffer()
const as = (contentType: string, provenance: 'NONE' | 'PRESENT' | null, rest: Expected = {}): Expected => ({
  contentType,
  provenance,
  ...rest,
})
const PNG = as('image/png', 'NONE')
const JPEG = as('image/jpeg', 'NONE')
const WEBP = as('image/webp', 'NONE')
const manifest = files.toChunk('caBX', Buffer.from('manifest'))

const GOOD: readonly (readonly [string, Make, Expected])[] = [
  ['a PNG', png, PNG],
  ['an interlaced PNG', () => draw().png({ progressive: true }).toBuffer(), PNG],
  ['a PNG with 16 bits', () => draw().toColourspace('rgb16').png().toBuffer(), PNG],
  ['a PNG with a palette', () => draw().png({ palette: true }).toBuffer(), PNG],
  ['a half transparent PNG', () => draw(0.5).png().toBuffer(), { ...PNG, average: { ...AVERAGE, a: 0.5 } }],
  [
    'a grey PNG',
    () => draw().toColourspace('b-w').png().toBuffer(),
    { ...PNG, average: { r: GREY, g: GREY, b: GREY } },
  ],
  ['a PNG of one pixel', () => files.toBlackPng(1, 1), { ...PNG, width: 1, height: 1, average: { r: 0 } }],
  [
    'a PNG of one row',
    () => files.toBlackPng(5_000, 1),
    { ...PNG, width: 5_000, height: 1, average: { r: 0 } },
  ],
  [
    'a PNG with a C2PA manifest',
    async () => files.withPngChunk(await png(), manifest),
    as('image/png', 'PRESENT'),
  ],
  [
    'a PNG with a C2PA manifest after its pixels',
    async () => files.withPngChunk(await png(), manifest, 'end'),
    as('image/png', 'PRESENT'),
  ],
  [
    'a PNG that only mentions caBX in a text',
    async () => files.withPngChunk(await png(), files.toChunk('tEXt', Buffer.from('Comment\0caBX'))),
    PNG,
  ],
  ['a JPEG', jpeg, JPEG],
  ['a progressive JPEG', () => draw().jpeg({ progressive: true }).toBuffer(), JPEG],
  ['a CMYK JPEG', () => jpeg(draw().toColourspace('cmyk')), { ...JPEG, average: PRINTED }],
  [
    'a grey JPEG',
    () => jpeg(draw().toColourspace('b-w')),
    { ...JPEG, average: { r: GREY, g: GREY, b: GREY } },
  ],
  ['a JPEG with a wide-gamut profile', () => jpeg(draw().withIccProfile('p3')), JPEG],
  [
    'a JPEG with a C2PA manifest',
    async () => files.withJpegSegments(await jpeg(), files.toJumbfSegment('c2pa')),
    as('image/jpeg', 'PRESENT'),
  ],
  [
    'a JPEG with a C2PA manifest after another JUMBF box',
    async () =>
      files.withJpegSegments(await jpeg(), files.toJumbfSegment('other'), files.toJumbfSegment('c2pa')),
    as('image/jpeg', 'PRESENT'),
  ],
  [
    'a JPEG with a C2PA manifest whose length has 64 bits',
    async () => files.withJpegSegments(await jpeg(), files.toJumbfSegment('c2pa', true)),
    as('image/jpeg', 'PRESENT'),
  ],
  [
    'a JPEG with a C2PA manifest after fill bytes',
    async () => files.withJpegSegments(await jpeg(), Buffer.alloc(3, 0xff), files.toJumbfSegment('c2pa')),
    as('image/jpeg', 'PRESENT'),
  ],
  [
    'a JPEG with another JUMBF box',
    async () => files.withJpegSegments(await jpeg(), files.toJumbfSegment('c2pa.assertions')),
    JPEG,
  ],
  ['a WebP', () => draw().webp().toBuffer(), WEBP],
  [
    'a lossless, half transparent WebP',
    () => draw(0.5).webp({ lossless: true }).toBuffer(),
    { ...WEBP, average: { ...AVERAGE, a: 0.5 } },
  ],
  ['an animated WebP', async () => (await files.drawFrames()).webp({ lossless: true }).toBuffer(), WEBP],
  [
    'a WebP with a C2PA manifest',
    async () => files.withWebpChunk(await draw(0.5).webp().toBuffer(), 'C2PA', Buffer.from('odd')),
    as('image/webp', 'PRESENT', { average: { a: 0.5 } }),
  ],
  ['an AVIF', () => draw().avif().toBuffer(), as('image/avif', null)],
  ['a GIF', () => draw().gif().toBuffer(), as('image/gif', null)],
  ['an animated GIF', async () => (await files.drawFrames()).gif().toBuffer(), as('image/gif', null)],
  ['a TIFF', () => draw().tiff({ compression: 'lzw' }).toBuffer(), as('image/tiff', null)],
  ['a PNG with EXIF orientation 3', () => draw().withMetadata({ orientation: 3 }).png().toBuffer(), PNG],
  [
    'a WebP with EXIF orientation 8',
    () => draw().withMetadata({ orientation: 8 }).webp().toBuffer(),
    { ...WEBP, width: HEIGHT, height: WIDTH },
  ],
]

describe('a picture is measured:', () => {
  test.each(GOOD)('%s', async (_name, make, { average = AVERAGE, ...expected }) => {
    await using scene = await openPictureScene({ decoder })
    const bytes = await make()
    // The header lies: the type is that of the bytes.
    scene.server.answer = serve(bytes, { 'content-type': 'text/plain' })
    {
      await using picture = await downloadPicture(scene)
      const { thumbhash, ...facts } = picture.facts
      const [sha256] = execFileSync('sha256sum', { input: bytes }).toString().split(' ')
      const size = { width: WIDTH, height: HEIGHT, byteSize: bytes.length }
      expect(facts).toEqual({ ...size, sha256, ...expected })
      expect(execFileSync('sha256sum', [picture.path]).toString()).toContain(sha256)
      const shown = thumbHashToAverageRGBA(Buffer.from(thumbhash, 'base64'))
      for (const [channel, value] of Object.entries(average))
        expect([channel, shown[channel as keyof typeof shown]]).toEqual([channel, expect.closeTo(value, 1)])
      expect((await stat(picture.path)).mode & 0o777).toBe(0o600)
    }
    expect(await scene.files()).toEqual([])
  })

  /** Where the red half is, in the thumbnail. */
  const findRed = (thumbhash: string) => {
    const { w, h, rgba } = thumbHashToRGBA(Buffer.from(thumbhash, 'base64'))
    const redness = (x: number, y: number) => {
      const at = 4 * (Math.floor(y * (h - 1)) * w + Math.floor(x * (w - 1)))
      return (rgba[at] ?? 0) - (rgba[at + 2] ?? 0)
    }
    const sides = {
      left: redness(0, 0.5),
      right: redness(1, 0.5),
      top: redness(0.5, 0),
      bottom: redness(0.5, 1),
    }
    return Object.entries(sides).reduce((best, side) => (side[1] > best[1] ? side : best))[0]
  }

  test.each([
    [1, 'left'],
    [2, 'right'],
    [3, 'right'],
    [4, 'left'],
    [5, 'top'],
    [6, 'top'],
    [7, 'bottom'],
    [8, 'bottom'],
  ])('a JPEG with EXIF orientation %i has its red half at the %s', async (orientation, side) => {
    await using scene = await openPictureScene({ decoder })
    scene.server.answer = serve(await jpeg(draw().withMetadata({ orientation })))
    await using picture = await downloadPicture(scene)
    const [width, height] = orientation < 5 ? [WIDTH, HEIGHT] : [HEIGHT, WIDTH]
    expect(picture.facts).toMatchObject({ width, height })
    expect(findRed(picture.facts.thumbhash)).toBe(side)
  })

  test('many at once', async () => {
    await using scene = await openPictureScene({ decoder })
    const bytes = await jpeg()
    scene.server.answer = serve(bytes)
    const pictures = await Promise.all(Array.from({ length: 20 }, () => downloadPicture(scene)))
    expect(new Set(pictures.map(({ path }) => path)).size).toBe(20)
    for (const picture of pictures) {
      expect(picture.facts).toMatchObject({ byteSize: bytes.length, width: WIDTH })
      await picture[Symbol.asyncDispose]()
    }
    expect(await scene.files()).toEqual([])
  })
})

const DAMAGED = 'the picture is damaged or cut off'
const NO_RASTER = 'the file is not a PNG, JPEG, WebP, AVIF, GIF or TIFF picture'
const SVG = 'the file is an SVG drawing, not a raster picture'
const HTML = 'the file is an HTML page, not a picture'
const TEXT = 'the file is text, not a picture'
const DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
const cut = async (picture: Sharp, share = 0.5) => {
  const bytes = await picture.toBuffer()
  return bytes.subarray(0, Math.floor(bytes.length * share))
}
const noisy = () => draw(1, 20)

const BAD: readonly (readonly [string, Make, string, boolean])[] = [
  ['a PNG without its last chunk', async () => (await png()).subarray(0, -12), 'the file is cut off', false],
  ['a PNG without its last byte', async () => (await png()).subarray(0, -1), 'the file is cut off', false],
  ['a PNG that is cut off', () => cut(noisy().png()), 'the file is cut off', false],
  [
    'a PNG whose pixels are cut off, although its last chunk is there',
    async () => {
      const whole = await png()
      const data = whole.indexOf('IDAT') + 4
      const pixels = whole.subarray(data, data + whole.readUInt32BE(data - 8))
      const half = files.toChunk('IDAT', pixels.subarray(0, pixels.length / 2))
      return Buffer.concat([whole.subarray(0, data - 8), half, whole.subarray(-12)])
    },
    DAMAGED,
    false,
  ],
  [
    'a PNG with a length that is garbage',
    async () => files.withPngChunk(await png(), Buffer.from('fffffff0tEXt', 'latin1')),
    'the file is cut off',
    false,
  ],
  ['a JPEG that is cut off', () => cut(noisy().jpeg()), DAMAGED, false],
  ['a JPEG that is cut off near its end', () => cut(noisy().jpeg(), 0.98), DAMAGED, false],
  ['a progressive JPEG that is cut off', () => cut(noisy().jpeg({ progressive: true })), DAMAGED, false],
  ['a WebP that is cut off', () => cut(noisy().webp(), 0.98), DAMAGED, false],
  [
    'an animated GIF that is cut off after its first frame',
    async () => cut((await files.drawFrames()).gif(), 0.7),
    'the file is cut off',
    false,
  ],
  ['a GIF that is cut off', () => cut(noisy().gif(), 0.98), 'the file is cut off', false],
  ['an AVIF that is cut off', () => cut(noisy().avif(), 0.98), DAMAGED, false],
  ['a TIFF that is cut off', () => cut(noisy().tiff(), 0.98), DAMAGED, false],
  [
    'a PNG bomb of 20,000 by 20,000 pixels',
    () => files.toBlackPng(20_000, 20_000),
    'the picture has 400 megapixels; 100 are allowed',
    true,
  ],
  [
    'a PNG that is one row too large',
    () => files.toBlackPng(10_000, 10_001),
    'the picture has 101 megapixels; 100 are allowed',
    true,
  ],
  [
    'a JPEG bomb',
    () => files.toBombHeader('jpeg', 60_000, 60_000),
    'the picture has 3600 megapixels; 100 are allowed',
    true,
  ],
  [
    'a GIF bomb',
    () => files.toBombHeader('gif', 60_000, 60_000),
    'the picture has 3600 megapixels; 100 are allowed',
    true,
  ],
  ['a page', () => Buffer.from('\n<!DOCTYPE html><html><svg></svg>'), HTML, false],
  ['a page with a comment first', () => Buffer.from('<!-- x --><HTML><body>Sorry'), HTML, false],
  ['an SVG', () => Buffer.from(DRAWING), SVG, true],
  [
    'an SVG with a prolog',
    () =>
      Buffer.from(
        '\ufeff<?xml version="1.0"?>\n<!-- <x> -->\n<svg:svg xmlns:svg="http://www.w3.org/2000/svg"/>',
      ),
    SVG,
    true,
  ],
  ['a JSON text', () => Buffer.from('{"code":500}'), TEXT, false],
  [
    'an XML error',
    () => Buffer.from('<?xml version="1.0"?><Error><Code>ExpiredToken</Code></Error>'),
    TEXT,
    false,
  ],
  ['a PDF', () => Buffer.from('%PDF-1.7\n%\0\x01\x02'), NO_RASTER, true],
  ['a ZIP', () => Buffer.from('PK\x03\x04\x14\0\0\0'), NO_RASTER, true],
  ['a HEIC', () => Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\0\0'), NO_RASTER, true],
  [
    'a PNG signature and then nothing',
    () => Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    'the file is cut off',
    false,
  ],
  [
    'a JPEG signature and then garbage',
    () => Buffer.from('\xff\xd8\xff\xe0 and more', 'latin1'),
    DAMAGED,
    false,
  ],
  ['an SVG behind the signature of a TIFF', () => Buffer.from(`II*\0${DRAWING}`), DAMAGED, false],
  ['an SVG behind the signature of a GIF', () => Buffer.from(`GIF89a${DRAWING};`), DAMAGED, false],
  [
    'an SVG behind the brand of an AVIF',
    () => Buffer.from(`\0\0\0\x14ftypnone\0\0\0\0avif${DRAWING}`),
    DAMAGED,
    false,
  ],
  ['an AVIF brand and then nothing', () => Buffer.from('\0\0\0\x18ftypmif1\0\0\0\0mif1avif'), DAMAGED, false],
]

describe('a file that is not a usable picture is refused with a reason:', () => {
  test.each(BAD)('%s', async (_name, make, reason, permanent) => {
    await using scene = await openPictureScene({ decoder })
    scene.server.answer = serve(await make())
    expect(await scene.download()).toEqual({ kind: 'unusable', reason, permanent })
    expect(await scene.files()).toEqual([])
    // The cause of damage is in the log.
    expect([...logged.splice(0), ...scene.logged]).toHaveLength(reason === DAMAGED ? 1 : 0)
  })

  test('an allowed number of pixels is decoded, and one more is not', async () => {
    await using scene = await openPictureScene({ decoder, limits: { maxPixels: WIDTH * HEIGHT } })
    scene.server.answer = serve(await png())
    await using _picture = await downloadPicture(scene)
    scene.server.answer = serve(
      await sharp(await png())
        .resize(WIDTH, HEIGHT + 1)
        .png()
        .toBuffer(),
    )
    expect(await scene.download()).toMatchObject({ kind: 'unusable', permanent: true })
  })
})
