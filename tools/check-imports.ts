/**
 * Fails on import cycles (type-only imports count) and on exports of `src` and `client` that no other file
 * uses. With `--cycles`, as in `npm run lint`, it checks cycles only.
 */
import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import ts from 'typescript'

interface Module {
  readonly imports: readonly string[]
  readonly exports: readonly string[]
  readonly identifiers: ReadonlySet<string>
}

/** Entry points of packages: other projects import their exports. */
const ENTRIES = [
  'client/src/index.ts',
  ...['react', 'store', 'testing'].map((entry) => `client/src/${entry}/index.ts`),
]
const CHECKED = /^(src|client\/src|console\/src)\//

/** The path of an imported module. The bench imports the build of `src`. */
function toPath(file: string, specifier: string): string {
  return join(dirname(file), specifier).replace(/^dist\/(.*)\.js$/, 'src/$1.ts')
}

function toExports(statement: ts.Statement): readonly string[] {
  if (ts.isExportDeclaration(statement))
    return statement.exportClause && ts.isNamedExports(statement.exportClause)
      ? statement.exportClause.elements.map(({ name }) => name.text)
      : []
  const modifiers = ts.canHaveModifiers(statement) ? ts.getModifiers(statement) : []
  if (!modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)) return []
  const declarations = ts.isVariableStatement(statement)
    ? statement.declarationList.declarations
    : [statement as ts.DeclarationStatement]
  return declarations.flatMap(({ name }) => (name && ts.isIdentifier(name) ? [name.text] : []))
}

function readModule(file: string): Module {
  const text = readFileSync(file, 'utf8')
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest)
  const identifiers = new Set<string>()
  const collect = (node: ts.Node): void => {
    if (ts.isIdentifier(node)) identifiers.add(node.text)
    ts.forEachChild(node, collect)
  }
  collect(source)
  const specifiers = ts.preProcessFile(text).importedFiles.map(({ fileName }) => fileName)
  return {
    imports: specifiers.filter((name) => name.startsWith('.')).map((name) => toPath(file, name)),
    exports: source.statements.flatMap(toExports),
    identifiers,
  }
}

/** One cycle of each group of modules that import each other, as a path. */
function findCycles(modules: ReadonlyMap<string, Module>): string[] {
  const cycles: string[] = []
  const done = new Set<string>()
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' → '))
    if (done.has(file)) return
    done.add(file)
    for (const imported of modules.get(file)?.imports ?? []) visit(imported, [...path, file])
  }
  for (const file of modules.keys()) visit(file, [])
  return cycles
}

function findUnused(modules: ReadonlyMap<string, Module>): string[] {
  const importers = Map.groupBy(
    [...modules].flatMap(([file, { imports }]) => imports.map((imported) => ({ file, imported }))),
    ({ imported }) => imported,
  )
  return [...modules]
    .filter(([file]) => CHECKED.test(file) && !ENTRIES.includes(file))
    .flatMap(([file, { exports }]) => {
      const users = (importers.get(file) ?? []).map((importer) => modules.get(importer.file))
      return exports
        .filter((name) => !users.some((user) => user?.identifiers.has(name)))
        .map((name) => `${file}: ${name}`)
    })
}

const files = globSync('{src,client/src,console/src,test,tools,bench}/**/*.{ts,tsx,mjs}', {
  exclude: ['**/node_modules/**', 'bench/peers/**'],
})
const modules = new Map(files.map((file) => [file, readModule(file)]))
const faults = findCycles(modules).map((path) => `Import cycle: ${path}`)
if (!process.argv.includes('--cycles'))
  faults.push(...findUnused(modules).map((name) => `Exported, but used by no other file: ${name}`))
for (const fault of faults) console.error(fault)
if (faults.length > 0) process.exitCode = 1
