/** The page contains all its scripts and workers, and connects to this server only. */
export const GRAPHIQL_POLICY =
  "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; " +
  "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws: wss:; " +
  "frame-ancestors 'none'"

const TITLE = 'Upscale gateway'
/** Scroll bars follow the theme. */
const THEME =
  ':root { color-scheme: light dark } .graphiql-light { color-scheme: light } .graphiql-dark { color-scheme: dark }'
/**
 * On a first visit GraphiQL leaves its tabs with an offset that applies while a tab has the focus: pressed, a
 * tab moves away from the mouse, and the click is lost.
 */
const STILL_TABS = '.graphiql-tab { transform: none !important }'

/** The tabs of GraphiQL. graphiql-client.js writes the id that Submit returns to the variables of Follow. */
const TABS = [
  {
    query: `# In the sandbox, this task takes 20 seconds.
# Run it. Then open the tab "Follow" and run that.
mutation Submit($input: UpscaleImageInput!) {
  upscaleImage(input: $input) {
    replayed
    task { id status version estimatedDoneAt }
    problem { code message retryable retryAfterMs }
  }
}
`,
    variables: { input: { taskId: 'sandbox-late-20', imageIndex: 0, force: false } },
  },
  {
    query: `# Follows the task that "Submit" returned,
# until it has settled.
subscription Follow($id: ID!) {
  taskUpdated(id: $id) {
    status
    version
    images { url expiresAt copyState width height thumbhash }
    problem { code message retryable }
  }
}
`,
    variables: { id: 'run-submit-first' },
  },
  {
    query: `# The sandbox refuses this task. Try other codes:
# 400, 401, 404, 408, 422, 429, 433, 455, 500, 501, 505
mutation Fail($input: UpscaleImageInput!) {
  upscaleImage(input: $input) {
    task { id status }
    problem { code message retryable retryAfterMs upstreamCode correlationId }
  }
}
`,
    variables: { input: { taskId: 'sandbox-code-402', imageIndex: 0 } },
  },
  {
    query: `# Your tasks, newest first.
query List($first: Int, $status: UpscaleTaskStatus) {
  upscaleTasks(first: $first, status: $status) {
    edges {
      node { id status version createdAt source { id } imageIndex images { url } problem { code } }
    }
    pageInfo { hasNextPage endCursor }
  }
}
`,
    variables: { first: 10, status: null },
  },
].map(({ query, variables }) => ({ query, variables: JSON.stringify(variables, null, 2) }))

/** GraphiQL as one document of 9 MB. `client`: the text of graphiql-client.js. */
export async function renderGraphiql(client: string): Promise<string> {
  const { css, editorWorkerService, favicon, graphqlWorker, js, jsonWorker } =
    await import('@graphql-yoga/render-graphiql/graphiql')
  const workers = JSON.stringify({ editorWorkerService, json: jsonWorker, graphql: graphqlWorker })
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>${TITLE}</title>
    <link rel="icon" href="${favicon}" />
    <style>${css}</style>
    <style>${THEME} ${STILL_TABS}</style>
  </head>
  <body class="no-focus-outline">
    <noscript>GraphiQL needs JavaScript.</noscript>
    <div id="root"></div>
    <script>self.MonacoEnvironment = { globalAPI: true }</script>
    <script>${js}</script>
    <script type="module">
      const workers = ${workers}
      self.MonacoEnvironment.getWorkerUrl = (_id, label) =>
        URL.createObjectURL(new Blob([workers[label]], { type: 'application/javascript' }))
      ${client}
      const options = { title: ${JSON.stringify(TITLE)}, defaultTabs: toTabs(${JSON.stringify(TABS)}) }
      YogaGraphiQL.renderYogaGraphiQL(document.querySelector('#root'), { ...options, fetcher, onEditHeaders, onTabChange })
    </script>
  </body>
</html>
`
}
