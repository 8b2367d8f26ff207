import { hash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { NOTHING_HERE, sendError } from './http-errors.ts'
import { prefersHtml } from './media-type.ts'

interface StartPage {
  readonly mode: 'SANDBOX' | 'LIVE'
  readonly console: boolean
  readonly graphiql: boolean
}

const STYLE =
  ':root{color-scheme:light dark;font:16px/1.6 system-ui,sans-serif}' +
  'body{max-width:36rem;margin:10vh auto;padding:0 1rem}a{font-weight:600}'
const POLICY = `default-src 'none'; style-src 'sha256-${hash('sha256', STYLE, 'base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`

/**
 * `/`: for browsers a page that links to what is here, if that is for browsers; for all other clients, 404 in
 * JSON.
 */
export function addStartPage(app: FastifyInstance, start: StartPage): void {
  const page = toPage(start)
  app.get('/', (request, reply) => {
    reply.header('vary', [reply.getHeader('vary'), 'Accept'].filter(Boolean).join(', '))
    if (!(start.console || start.graphiql) || !prefersHtml(request.headers.accept))
      return sendError(reply, 404, NOTHING_HERE)
    return reply.header('content-security-policy', POLICY).type('text/html; charset=utf-8').send(page)
  })
}

function toPage({ mode, console, graphiql }: StartPage): string {
  const live = mode === 'LIVE'
  const items = [
    console && '<a href="console/">Console</a>: upscale pictures, and watch tasks',
    graphiql && '<a href="graphql">GraphiQL</a>: write GraphQL operations, and read the schema',
    '<code>POST /graphql</code>: the API',
    '<a href="readyz?verbose">Health</a>: the state of the service and its parts',
    'Documentation: <code>README.md</code> and <code>docs/frontends.md</code> of the project',
  ]
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>Upscale gateway</title>
    <style>${STYLE}</style>
  </head>
  <body>
    <main>
      <h1>Upscale gateway</h1>
      <p>${live ? 'Live mode: every new upscale costs credits.' : 'Sandbox mode: upscales are simulated, and cost nothing.'}</p>
      <ul>
${items.flatMap((item) => (item === false ? [] : [`        <li>${item}</li>`])).join('\n')}
      </ul>
    </main>
  </body>
</html>
`
}
