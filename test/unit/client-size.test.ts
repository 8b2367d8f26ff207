import { gzipSync } from 'node:zlib'
import { expect, test } from '@jest/globals'
import { build } from 'esbuild'

/** The minified bundle of a module that imports these names from the client. */
async function bundle(imports: string, more = ''): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: `export ${imports} from './client/src/index.ts'; ${more}`, resolveDir: '.' },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['graphql-ws', 'react'],
    write: false,
  })
  return outputFiles[0]?.text ?? ''
}

const toSize = (text: string) => gzipSync(text, { level: 9 }).length

test('the client has at most 4 kB, minified and compressed, and the hooks at most 2 kB more', async () => {
  const client = toSize(await bundle('*'))
  const withHooks = toSize(await bundle('*', "export * from './client/src/react/index.ts'"))
  expect(client).toBeLessThanOrEqual(4_096)
  expect(withHooks - client).toBeLessThanOrEqual(2_048)
})

test('a bundler leaves out what is not imported', async () => {
  const markers = { sse: 'text/event-stream', socket: 'connectionParams', submit: 'UpscaleImageInput' }
  const markersOf = async (imports: string) => {
    const text = await bundle(imports)
    return Object.entries(markers).flatMap(([name, marker]) => (text.includes(marker) ? [name] : []))
  }
  expect(await markersOf('*')).toEqual(['sse', 'socket', 'submit'])
  expect(await markersOf('{ followTask }')).toEqual([])
  expect(await markersOf('{ submit }')).toEqual(['submit'])
  expect(await markersOf('{ createHttpTransport }')).toEqual(['sse'])
  expect(await markersOf('{ toClientOptions }')).toEqual(['socket'])
})
