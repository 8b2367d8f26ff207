/**
 * Writes the tables of settings, from the schema in src/settings/schema.ts: README has the first sentence of
 * each description, docs/settings.md all of it. With `--check` it writes nothing, and fails if a committed
 * file differs.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { schema, toName } from '../src/settings/schema.ts'

const MARKED = /(<!-- settings -->\n)[^]*(\n<!-- \/settings -->)/

/** The default in the format of the variable: the `prefault` of the schema. */
function toDefault(setting: z.ZodType): string {
  return setting instanceof z.ZodPrefault ? `\`${String(setting.def.defaultValue)}\`` : '–'
}

function toTable(describe: (description: string) => string): string {
  const rows = Object.entries(schema.shape).map(([key, setting]) => {
    const { description } = setting
    if (description === undefined) throw new Error(`${toName(key)} has no description in src/settings`)
    return `| \`${toName(key)}\` | ${toDefault(setting)} | ${describe(description)} |`
  })
  return ['| name | default | |', '|---|---|---|', ...rows].join('\n')
}

/** Up to the first full stop that ends a sentence. */
const toFirstSentence = (text: string) => /^[^]*?[.](?= |$)/.exec(text)?.[0] ?? text
/** Links in descriptions are relative to the project's root. */
const fromDocs = (text: string) => text.replaceAll('](docs/', '](').replaceAll('](SECURITY', '](../SECURITY')

const page = `# Settings

<!-- Generated from src/settings by \`npm run settings:emit\`. -->

Settings are environment variables, read once and checked before anything starts; one message lists all faults. Names that
end in \`_MS\` are in milliseconds, \`_S\` in seconds, \`_DAYS\` in days. Switches are \`on\` or \`off\` (\`true\` and \`false\` are
accepted, too). White space around a value is ignored; quotes around it, line breaks and invisible characters are
refused. A variable that resembles a setting (\`UPSTREAM_APIKEY\`) causes a warning.

${fromDocs(toTable((text) => text))}
`
const readme = await readFile('README.md', 'utf8')
if (!MARKED.test(readme)) throw new Error('README.md has no <!-- settings --> … <!-- /settings -->')
const files: Record<string, string> = {
  'docs/settings.md': page,
  'README.md': readme.replace(
    MARKED,
    (_all, begin: string, end: string) => `${begin}\n${toTable(toFirstSentence)}\n${end}`,
  ),
}

const check = process.argv.includes('--check')
for (const [file, text] of Object.entries(files)) {
  if (!check) await writeFile(file, text)
  else if ((await readFile(file, 'utf8').catch(() => '')) !== text) {
    console.error(`${file} differs from the code. Run: npm run settings:emit`)
    process.exitCode = 1
  }
}
