/**
 * A worker thread: renders the document of GraphiQL and compresses it. The parts of 9 MB are freed when the
 * thread ends.
 */
import { readFile } from 'node:fs/promises'
import { parentPort } from 'node:worker_threads'
import { compressAsset } from './http/assets.ts'
import { renderGraphiql } from './http/pages.ts'

/** Of 9 MB, higher levels save 10 %, and take longer to make than the rest of the page. */
const LEVEL = 3

const client = await readFile(new URL('http/graphiql-client.js', import.meta.url), 'utf8')
const document = Buffer.from(await renderGraphiql(client))
parentPort?.postMessage(await compressAsset(document, 'text/html; charset=utf-8', LEVEL))
