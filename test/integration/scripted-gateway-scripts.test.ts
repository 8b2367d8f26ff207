import { readFile } from 'node:fs/promises'
import { describe, expect, test } from '@jest/globals'
import sharp from 'sharp'
import { rgbaToThumbHash } from 'thumbhash'
import { drawSource, drawUpscaled } from '../../client/src/testing/pictures.ts'
import { SANDBOX_SCRIPTS, type SandboxScript } from '../../client/src/testing/index.ts'
import { toScenario, type Scenario } from '../../src/sandbox/scenario.ts'
import { toUpstreamFailure } from '../../src/tasks/failure.ts'
import { parseStatus } from '../../src/upstream/submit-rule.ts'

const ORDINARY = toScenario('my-picture', 'kie-midjourney', 2_000)

/** `sandbox-code-402` as `sandbox-code`. */
const toKind = (taskId: string) => taskId.replace(/-\d+$/, '')

/** The end and the code that the sandbox's scenario leads to. */
function toEnd({ create, busy, completionCode }: Scenario): Pick<SandboxScript, 'ends' | 'code'> {
  if (busy > 0) return { ends: 'REFUSED', code: toUpstreamFailure(429).code }
  if (create.kind === 'refuse') return { ends: 'REFUSED', code: toUpstreamFailure(create.code).code }
  if (create.kind === 'proxy' && !create.accepted) {
    // The sandbox answers `sandbox-html` with a status that proves nothing.
    const answer = parseStatus(create.httpStatus, null)
    return answer.kind === 'refused'
      ? { ends: 'REFUSED', code: answer.failure.code }
      : { ends: 'FAILED', code: 'UPSTREAM_OUTCOME_UNKNOWN' }
  }
  if (completionCode !== 200) return { ends: 'FAILED', code: toUpstreamFailure(completionCode).code }
  return { ends: 'SUCCEEDED', code: null }
}

describe('the scripts of the client package', () => {
  test.each(SANDBOX_SCRIPTS)('tell what the sandbox does: $taskId', ({ taskId, outcome, ends, code }) => {
    const scenario = toScenario(taskId, 'kie-midjourney', 2_000)
    expect({ ends, code }).toEqual(toEnd(scenario))
    if (taskId !== 'my-picture') expect(scenario).not.toEqual(ORDINARY)
    expect(outcome).not.toBe('')
  })

  test('are all that the sandbox has for every engine, each once', async () => {
    const source = await readFile('src/sandbox/scenario.ts', 'utf8')
    const named = [...source.matchAll(/^ {2}'(sandbox-[a-z-]+)': \{(?! extra)/gm)].map(([, name]) => name)
    const numbered = [...source.matchAll(/^ {2}([a-z]+): \(\w+\) => \(\{/gm)].map(
      ([, name]) => `sandbox-${name}`,
    )
    expect(named.length + numbered.length).toBeGreaterThan(12)
    const ids = SANDBOX_SCRIPTS.map(({ taskId }) => taskId)
    const kinds = new Set(ids.map(toKind))
    expect([...kinds].sort()).toEqual([...new Set([...named, ...numbered, 'my-picture'])].sort())
    expect(new Set(ids).size).toBe(ids.length)
  })

  test('are all that docs/sandbox.md lists', async () => {
    const page = await readFile('docs/sandbox.md', 'utf8')
    const table = page.split('\n\n').find((block) => block.startsWith('| `taskId` | outcome |')) ?? ''
    const listed = table.split('\n').flatMap((row) => row.split('|')[1]?.match(/sandbox-[\w-]+/g) ?? [])
    expect(listed.length).toBeGreaterThan(12)
    const ids = SANDBOX_SCRIPTS.map(({ taskId }) => taskId)
    expect(ids.map(toKind)).toEqual(expect.arrayContaining(listed.map(toKind)))
    const codes =
      / Any code: ([\d, ]+)/
        .exec(table)?.[1]
        ?.split(', ')
        .map((code) => code.trim()) ?? []
    expect(codes.length).toBe(12)
    for (const code of codes)
      expect(ids).toEqual(expect.arrayContaining([`sandbox-code-${code}`, `sandbox-callback-${code}`]))
  })

  test('have pictures with their own thumbhash, and with a watermark', async () => {
    for (const index of [0, 1, 2, 3, 4, 5]) {
      const { url, thumbhash, width } = drawSource('my-picture', index)
      const svg = decodeURIComponent(url.replace('data:image/svg+xml,', ''))
      const picture = sharp(Buffer.from(svg))
      expect((await picture.metadata()).width).toBe(width)
      const { data, info } = await picture
        .resize(100, 100)
        .ensureAlpha()
        .raw()
        .toBuffer({ resolveWithObject: true })
      expect(Buffer.from(rgbaToThumbHash(info.width, info.height, data)).toString('base64')).toBe(thumbhash)
    }
    const marked = drawUpscaled({ taskId: 'my-picture', imageIndex: 0, waterMark: '<mine>' })
    expect(decodeURIComponent(marked.url)).toContain('&#60;mine&#62;</text>')
  })
})
