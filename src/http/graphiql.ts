import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { sendAsset, type Asset } from './assets.ts'
import { prefersHtml } from './media-type.ts'
import { GRAPHIQL_POLICY } from './pages.ts'

interface GraphiqlPage {
  /** Whether a request wants the page instead of GraphQL. */
  isWanted(request: FastifyRequest): boolean
  send(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply>
}

/**
 * The page of GraphiQL, 9 MB. A worker thread (`program`) renders it at the first request, because rendering
 * blocks for about a second.
 */
export function createGraphiqlPage(program: URL): GraphiqlPage {
  let page: Promise<Asset> | undefined
  const load = () => {
    page ??= renderInThread(program).catch((error: unknown) => {
      page = undefined
      throw error
    })
    return page
  }
  return {
    isWanted: ({ headers }) => prefersHtml(headers.accept),
    async send(request, reply) {
      const asset = await load()
      // The browser stores the page, and asks whether it has changed.
      reply.header('content-security-policy', GRAPHIQL_POLICY).header('cache-control', 'no-cache')
      return sendAsset(request, reply, asset)
    },
  }
}

async function renderInThread(program: URL): Promise<Asset> {
  const worker = new Worker(program)
  // The thread must not keep a stopping service alive.
  worker.unref()
  const [asset] = (await once(worker, 'message')) as [Asset]
  return asset
}
