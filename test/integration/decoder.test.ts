import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { expect, test } from '@jest/globals'
import { openDecoder, type Decoder } from '../../src/results/decoder.ts'
import { draw, HEIGHT, toBlackPng, WIDTH } from '../support/picture-files.ts'
import { openTempDir } from '../support/temp-dir.ts'
import { waitFor } from '../support/wait-for.ts'

const SIGNAL = new AbortController().signal

async function openScene() {
  await using opened = new AsyncDisposableStack()
  const folder = opened.use(await openTempDir())
  const logged: string[] = []
  const log = (_facts: object, sentence: string) => void logged.push(sentence)
  const decoder = opened.use(openDecoder({ info: log, warn: log, error: log }))
  const [small, large] = [`${folder.path}/small.png`, `${folder.path}/large.png`]
  await writeFile(small, await draw().png().toBuffer())
  await writeFile(large, toBlackPng(9_000, 9_000))
  const rest = opened.move()
  return {
    decoder,
    logged,
    small,
    measure: (path: string) => measure(decoder, path),
    large,
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

const measure = (decoder: Decoder, path: string) =>
  decoder.measure({ path, maxPixels: 100_000_000, failOn: 'truncated' }, SIGNAL)

/** The processes that this one has started. */
const children = () =>
  readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean)

test('a picture that crashes the decoder is unusable, and the next one is decoded', async () => {
  await using scene = await openScene()
  const before = children()
  await scene.measure(scene.small)
  const [child] = children().filter((pid) => !before.includes(pid))
  const crashed = expect(scene.measure(scene.large)).rejects.toMatchObject({
    message: 'the decoder crashed',
    permanent: false,
  })
  process.kill(Number(child), 'SIGSEGV')
  await crashed
  expect(await scene.measure(scene.small)).toMatchObject({ width: WIDTH, height: HEIGHT })
  expect(scene.logged).toEqual(['the decoder process has crashed; it is restarted'])
})

test('the decoder has a low priority and no secrets', async () => {
  await using scene = await openScene()
  const before = children()
  await scene.measure(scene.small)
  const [child] = children().filter((pid) => !before.includes(pid))
  const stat = readFileSync(`/proc/${child}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  expect(stat[16]).toBe('10')
  const names = readFileSync(`/proc/${child}/environ`, 'utf8')
    .split('\0')
    .map((each) => each.split('=')[0])
  expect(
    names.filter((name) => !['', 'NODE_CHANNEL_FD', 'NODE_CHANNEL_SERIALIZATION_MODE'].includes(name ?? '')),
  ).toEqual([])
})

test('a closed decoder ends its process, and decodes nothing', async () => {
  await using scene = await openScene()
  const before = children()
  await scene.measure(scene.small)
  const running = expect(scene.measure(scene.large)).rejects.toThrow('the decoder was closed')
  scene.decoder[Symbol.dispose]()
  await running
  await expect(scene.measure(scene.small)).rejects.toThrow('the decoder was closed')
  await waitFor(() => children().every((pid) => before.includes(pid)))
})
