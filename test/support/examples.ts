import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'

/** What the examples of docs/clients/many-pictures.md use. */
interface ExampleWorld {
  readonly UPSCALE: string
  readonly FOLLOW: string
  readonly url: string
  readonly streamUrl: string
  readonly authorization: string
  readonly input: object
  readonly accept: (results: never) => string[]
  readonly show: (task: never) => void
  readonly report: (error: never) => void
  readonly done: () => void
}

const NAMES = 'UPSCALE, FOLLOW, url, streamUrl, authorization, input, accept, show, report, done'
/** The packages that the examples import. */
const PACKAGES = 'test/supergraph/node_modules'

/**
 * Reads the page about many pictures: its two operations, and an example by the first words of its heading.
 */
export async function readExamples() {
  const page = await readFile('docs/clients/many-pictures.md', 'utf8')
  const [, mutation = '', subscription = ''] =
    /^```graphql\n(mutation .*?)\n\n(subscription .*?)^```$/ms.exec(page) ?? []
  return {
    UPSCALE: mutation,
    FOLLOW: subscription,
    toCode(title: string): string {
      const [, text] = page.split(`\n\n## ${title}`)
      const [, code] = /^```js\n(.*?)^```$/ms.exec(text ?? '') ?? []
      if (code === undefined) throw new Error(`docs/clients/many-pictures.md has no example for ${title}`)
      return code
    },
  }
}

/** Runs the code of an example until it has called `done`. */
export async function runExample(code: string, world: Omit<ExampleWorld, 'done'>): Promise<void> {
  const lines = code.split('\n')
  const imports = lines.filter((line) => line.startsWith('import '))
  const rest = lines.filter((line) => !line.startsWith('import '))
  const text = [...imports, `export async function run({ ${NAMES} }) {`, ...rest, '}'].join('\n')
  const dir = await mkdtemp(resolve(PACKAGES, '.example-'))
  try {
    await writeFile(`${dir}/example.mjs`, text)
    const { run } = (await import(`${dir}/example.mjs`)) as { run(world: ExampleWorld): Promise<void> }
    const { promise, resolve: done } = Promise.withResolvers<void>()
    await run({ ...world, done })
    await promise
  } finally {
    await rm(dir, { recursive: true })
  }
}
