import { execFile } from 'node:child_process'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import ts from 'typescript'

const run = promisify(execFile)

/** Runs a command as a shell does that it is pasted into. Resolves to its output. */
export async function runShell(text: string): Promise<string> {
  const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', text])
  return stdout
}

/** Bundles a module with the client package, and runs it with Node. Resolves to its output. */
export async function runTypeScript(text: string): Promise<string> {
  const bundling = run('node_modules/.bin/esbuild', [
    '--bundle',
    '--format=esm',
    '--loader=ts',
    `--alias:upscale-gateway-client=${resolve('client/src/index.ts')}`,
  ])
  bundling.child.stdin?.end(text)
  const { stdout: script } = await bundling
  const running = run(process.execPath, ['--input-type=module', '-'])
  running.child.stdin?.end(script)
  return (await running).stdout
}

/** The errors that TypeScript finds in modules, by their file names. */
export function checkTypes(modules: Readonly<Record<string, string>>): string[] {
  const texts = new Map(Object.entries(modules).map(([name, text]) => [resolve('test', name), text]))
  const options: ts.CompilerOptions = {
    target: ts.ScriptTarget.ES2024,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    lib: ['lib.es2024.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
    jsx: ts.JsxEmit.ReactJSX,
    types: ['react'],
    paths: {
      'upscale-gateway-client': [resolve('client/src/index.ts')],
      'upscale-gateway-client/react': [resolve('client/src/react/index.ts')],
    },
    strict: true,
    noUncheckedIndexedAccess: true,
    allowImportingTsExtensions: true,
    skipLibCheck: true,
    noEmit: true,
  }
  const host = ts.createCompilerHost(options)
  const { readFile, fileExists } = host
  host.readFile = (path) => texts.get(path) ?? readFile(path)
  host.fileExists = (path) => texts.has(path) || fileExists(path)
  const program = ts.createProgram([...texts.keys()], options, host)
  return ts
    .getPreEmitDiagnostics(program)
    .map(
      ({ file, messageText }) =>
        `${file?.fileName ?? ''}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`,
    )
}
