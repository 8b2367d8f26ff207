/** A worker thread: renders the document of GraphiQL and compresses it. The parts of 9 MB are freed when the thread ends. */
import { parentPort } from 'node:worker_threads'
import { compressAsset } from './assets.ts'
import { renderGraphiql } from './pages.ts'

/** The first visitor waits for it. Higher levels save a fifth of 2.8 MB, and take two to six times as long. */
const LEVEL = 1

const document = Buffer.from(await renderGraphiql())
parentPort?.postMessage(await compressAsset(document, 'text/html; charset=utf-8', LEVEL))
