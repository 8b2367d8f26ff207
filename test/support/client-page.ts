/** A page of docs/clients as a project of its own: its files, its packages, its commands, built with Vite. */
import { execFile } from 'node:child_process'
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { delimiter, dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { openTempDir } from './temp-dir.ts'

const run = promisify(execFile)

const GATEWAY = 'https://gateway.example.com/graphql'
/** Where the packages of the pages are installed: the first folder that has one. */
const PACKAGE_FOLDERS = ['test/browser/node_modules', 'node_modules'].map((folder) => resolve(folder))

export interface ClientPage {
  /** The text of each code block that a paragraph beginning with a file name precedes, by that name. */
  readonly files: ReadonlyMap<string, string>
  /** The packages that the page installs. */
  readonly packages: readonly string[]
  /** The commands that the page runs with `npx`. */
  readonly commands: readonly string[]
}

/** Reads a page of docs/clients. */
export async function readClientPage(name: string): Promise<ClientPage> {
  const text = await readFile(`docs/clients/${name}.md`, 'utf8')
  const blocks = text.matchAll(/(?<=\n\n)`([\w./-]+\.\w+)`(?:(?!\n\n).)*\n\n```\w+\n(.*?)^```$/gms)
  const shell = [...text.matchAll(/^```sh\n(.*?)^```$/gms)].flatMap(([, code = '']) =>
    code.trim().split('\n'),
  )
  const toWords = (start: string) =>
    shell.filter((line) => line.startsWith(start)).map((line) => line.slice(start.length))
  return {
    files: new Map([...blocks].map(([, file = '', code = '']) => [file, code])),
    packages: toWords('npm install ')
      .flatMap((line) => line.split(' '))
      .filter((word) => !word.startsWith('-')),
    commands: toWords('npx '),
  }
}

/** The page as a project in a new folder, with only the packages that the page installs. */
export async function openClientProject(page: ClientPage, gatewayUrl: string) {
  await using opened = new AsyncDisposableStack()
  const { path } = opened.use(await openTempDir())
  for (const name of page.packages) await install(path, name)
  await cp('schema/api.graphql', join(path, 'schema/api.graphql'))
  for (const [file, code] of page.files) {
    await mkdir(dirname(join(path, file)), { recursive: true })
    await writeFile(join(path, file), code.replaceAll(GATEWAY, `${gatewayUrl}/graphql`))
  }
  const rest = opened.move()
  return {
    path,
    /** Runs a command of an installed package. Rejects with its output. */
    async run(command: string): Promise<void> {
      const bins = PACKAGE_FOLDERS.map((folder) => join(folder, '.bin'))
      const env = { ...process.env, NODE_OPTIONS: '', PATH: [...bins, process.env.PATH].join(delimiter) }
      await run('sh', ['-c', command], { cwd: path, env })
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

export type ClientProject = Awaited<ReturnType<typeof openClientProject>>

async function install(project: string, name: string): Promise<void> {
  const target = join(project, 'node_modules', name)
  await mkdir(dirname(target), { recursive: true })
  if (name === 'upscale-gateway-client') return installClient(target)
  for (const folder of PACKAGE_FOLDERS) {
    const exists = await readFile(join(folder, name, 'package.json')).then(
      () => true,
      () => false,
    )
    if (exists) return symlink(join(folder, name), target)
  }
  throw new Error(`${name} is not installed. Add it to test/browser/package.json`)
}

/** The client package from its sources, so that the tests need no build. */
async function installClient(target: string): Promise<void> {
  await mkdir(target)
  await symlink(resolve('client/src'), join(target, 'src'))
  const exports = {
    '.': './src/index.ts',
    './react': './src/react/index.ts',
    './store': './src/store/index.ts',
  }
  await writeFile(join(target, 'package.json'), JSON.stringify({ type: 'module', exports }))
}

/** Strict; otherwise what `npm create vite` writes. */
const TSCONFIG = {
  compilerOptions: {
    target: 'ES2024',
    lib: ['ESNext', 'DOM', 'DOM.Iterable', 'DOM.AsyncIterable'],
    module: 'ESNext',
    moduleResolution: 'bundler',
    allowImportingTsExtensions: true,
    verbatimModuleSyntax: true,
    jsx: 'react-jsx',
    types: [],
    strict: true,
    noUncheckedIndexedAccess: true,
    skipLibCheck: true,
    noEmit: true,
  },
  include: ['src'],
}

/** Checks the types of a page. Rejects with the compiler's errors. */
export async function checkTypes({ path, run }: ClientProject): Promise<void> {
  await writeFile(join(path, 'tsconfig.json'), JSON.stringify(TSCONFIG))
  await run('tsc -p tsconfig.json >&2')
}

/** What `npm create vite` writes, with the page's own entry. */
const toIndex = (entry: string) => `<!doctype html>
<html lang="en">
  <head><meta charset="utf-8" /><link rel="icon" href="data:," /><title>Upscale</title></head>
  <body><div id="root"></div><script type="module" src="/${entry}"></script></body>
</html>
`

/** Runs the commands of a page, and builds its `src/main`. Resolves to the folder of the built site. */
export async function buildClientPage(page: ClientPage, project: ClientProject): Promise<string> {
  const entry = [...page.files.keys()].find((file) => /^src\/main\.\w+$/.test(file)) ?? 'src/main.js'
  await writeFile(join(project.path, 'index.html'), toIndex(entry))
  for (const command of page.commands) await project.run(command)
  await project.run('vite build --logLevel warn')
  return join(project.path, 'dist')
}
