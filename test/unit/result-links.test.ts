import { expect, test } from '@jest/globals'
import { toTaskShape } from '../../src/graphql/to-shape.ts'
import { createResultLinks, isSignatureValid } from '../../src/results/links.ts'
import { newTask } from '../support/new-task.ts'

const FACTS = {
  width: 1024,
  height: 512,
  byteSize: 9,
  contentType: 'image/png',
  sha256: 'ab',
  thumbhash: 'cd',
  provenance: null,
}
const IMAGE = { url: 'https://example.com/a.png', expiresAt: 9_000, facts: FACTS, copyState: 'KEPT' as const }
const TASK = newTask({ status: 'SUCCEEDED', images: [IMAGE, { ...IMAGE, copyState: 'PENDING' }] })

test('a copy has a stable link, which is valid for its task and position only', () => {
  const links = createResultLinks(() => 'https://gateway.example.com')
  const url = links.toUrl(TASK, 0)
  const [signature = ''] = url.split('/').slice(-1)
  expect(url).toBe(`https://gateway.example.com/results/${TASK.id}/0/${signature}`)
  expect(isSignatureValid(TASK, 0, signature)).toBe(true)
  expect(isSignatureValid(TASK, 1, signature)).toBe(false)
  expect(isSignatureValid({ ...TASK, callbackTokenHash: 'other' }, 0, signature)).toBe(false)
  expect(links.toUrl(TASK, 1)).toBe(IMAGE.url)
})

test('with copies switched off, the upstream’s link is shown for a copy, and expires', () => {
  const images = toTaskShape(TASK).toImages(createResultLinks(() => null))
  expect(images?.[0]).toMatchObject({
    url: IMAGE.url,
    originalUrl: IMAGE.url,
    expiresAt: new Date(9_000),
    copyState: 'OFF',
    width: 1024,
  })
})

test('the enlargement is that of the width, to two decimals, and null while the source is not known', () => {
  const toEnlargement = (width: number | null) => {
    const sourceImage = { url: 'https://example.com/s.png', width, height: 1, thumbhash: null }
    const images = toTaskShape({ ...TASK, sourceImage }).toImages(createResultLinks(() => null))
    return images?.[0]?.enlargement
  }
  expect([256, 768, null].map(toEnlargement)).toEqual([4, 1.33, null])
})
