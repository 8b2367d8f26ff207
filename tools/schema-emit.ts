/**
 * Writes what is generated from the code: schema/schema.graphql and schema/callback.schema.json. With
 * `--check` it writes nothing and fails where the committed files differ.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import { createSchema, readSdl } from '../src/graphql/schema.ts'
import { callbackBody } from '../src/upstream/wire.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

const files: Record<string, string> = {
  'schema/schema.graphql': await readSdl(await createSchema(silent)),
  'schema/callback.schema.json': `${JSON.stringify(z.toJSONSchema(callbackBody, { io: 'input' }), null, 2)}\n`,
}

const check = process.argv.includes('--check')
for (const [file, text] of Object.entries(files)) {
  if (!check) await writeFile(file, text)
  else if ((await readFile(file, 'utf8')) !== text) {
    console.error(`${file} is not what the code says. Run: npm run schema:emit`)
    process.exitCode = 1
  }
}
