import { readFile } from 'node:fs/promises'

/** The page contains all its scripts and workers, and connects to this server only. */
export const PAGE_POLICY =
  "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; " +
  "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws: wss:; " +
  "frame-ancestors 'none'"

const TITLE = 'Upscale gateway'
/** Scroll bars follow the theme. */
const THEME =
  ':root { color-scheme: light dark } .graphiql-light { color-scheme: light } .graphiql-dark { color-scheme: dark }'

const EXAMPLE = `# The sandbox accepts any task id. Run this, copy the id of the task, and follow it with the second operation.
mutation Upscale {
  upscaleImage(input: { taskId: "my-first-task", imageIndex: 0 }) {
    replayed
    task { id status version }
    problem { code message retryable retryAfterMs }
  }
}

subscription Follow($id: ID!) {
  taskUpdated(id: $id) {
    status
    version
    images { url expiresAt copyState width height thumbhash }
    problem { code message }
  }
}
`

/** GraphiQL as one document of 9 MB: render it on first use. */
export async function renderPage(): Promise<string> {
  const { css, editorWorkerService, favicon, graphqlWorker, js, jsonWorker } =
    await import('@graphql-yoga/render-graphiql/graphiql')
  const client = await readFile(new URL('./graphiql-client.js', import.meta.url), 'utf8')
  const workers = JSON.stringify({ editorWorkerService, json: jsonWorker, graphql: graphqlWorker })
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>${TITLE}</title>
    <link rel="icon" href="${favicon}" />
    <style>${css}</style>
    <style>${THEME}</style>
  </head>
  <body class="no-focus-outline">
    <noscript>GraphiQL needs JavaScript.</noscript>
    <div id="root"></div>
    <script>${js}</script>
    <script type="module">
      const workers = ${workers}
      self.MonacoEnvironment = {
        globalAPI: false,
        getWorkerUrl: (_id, label) =>
          URL.createObjectURL(new Blob([workers[label]], { type: 'application/javascript' })),
      }
      ${client}
      const options = ${JSON.stringify({ title: TITLE, defaultQuery: EXAMPLE })}
      YogaGraphiQL.renderYogaGraphiQL(document.querySelector('#root'), { ...options, fetcher, onEditHeaders })
    </script>
  </body>
</html>
`
}
