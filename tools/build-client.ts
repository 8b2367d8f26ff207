/**
 * Builds client/dist: one bundle for each entry, with what they share in chunks, without comments, and the
 * declarations that the entries reach, with comments. Node runs this file itself, without a compiler.
 */
import { execFileSync } from 'node:child_process'
import { globSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { build } from 'esbuild'

process.chdir(join(import.meta.dirname, '../client'))
const ENTRIES = ['index', 'react/index', 'store/index', 'testing/index']

rmSync('dist', { recursive: true, force: true })
await build({
  entryPoints: ENTRIES.map((entry) => `src/${entry}.ts`),
  outdir: 'dist',
  bundle: true,
  splitting: true,
  chunkNames: 'shared/[hash]',
  format: 'esm',
  target: 'es2022',
  minify: true,
  external: ['react'],
  logLevel: 'warning',
})
execFileSync(process.execPath, ['../node_modules/typescript/bin/tsc', '-p', '.', '--emitDeclarationOnly'], {
  stdio: 'inherit',
})

const reached = new Set<string>()
function reach(path: string): void {
  if (reached.has(path)) return
  reached.add(path)
  for (const [, from = ''] of readFileSync(path, 'utf8').matchAll(
    /(?:from |import\()['"](\.[^'"]+)\.[jt]s['"]/g,
  ))
    reach(join(dirname(path), `${from}.d.ts`))
}
for (const entry of ENTRIES) reach(join('dist', `${entry}.d.ts`))
for (const path of globSync('dist/**/*.d.ts')) if (!reached.has(path)) rmSync(path)
