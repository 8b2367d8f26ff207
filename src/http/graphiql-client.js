// Runs in the browser, as part of the GraphiQL page (pages.ts): sends operations to /graphql with the headers
// that are entered in the page. The fetcher of GraphiQL sends them over HTTP only, and shows a closed socket
// as {"isTrusted":true}.

const ENDPOINT = new URL('/graphql', location.href)
const TOKEN_HINT = 'Enter {"Authorization": "Bearer TOKEN"} in the Headers tab below the query.'
/** How long typing in the headers editor pauses before the schema is loaded again, in milliseconds. */
const TYPING_PAUSE_MS = 500

/** True if loading the schema failed because no token has been entered yet. */
let schemaWantsToken = false
let typing
/** The id of the task that was submitted last, until it is in the variables of the tab "Follow". */
let submittedId

/** The tabs of a first visit. A query in the page's URL has a tab of its own, in front. */
export function toTabs(tabs) {
  const query = new URL(location.href).searchParams.get('query')
  if (query) return [{ query }, ...tabs]
  // GraphiQL shows the variables of the first tab only if they are stored, and without the stored query a
  // reload would add an empty tab.
  if (localStorage.getItem('graphiql:tabState') === null) {
    localStorage.setItem('graphiql:query', tabs[0].query)
    localStorage.setItem('graphiql:variables', tabs[0].variables)
  }
  return tabs
}

export function fetcher(request, { headers = {}, documentAST } = {}) {
  if (request.operationName === 'IntrospectionQuery') return introspect(request, headers)
  return isSubscription(request, documentAST) ? follow(request, headers) : post(request, headers)
}

function isSubscription({ operationName }, document) {
  const operations = (document?.definitions ?? []).filter(({ kind }) => kind === 'OperationDefinition')
  const named = operations.find(({ name }) => name?.value === operationName)
  return (named ?? operations[0])?.operation === 'subscription'
}

async function introspect(request, headers) {
  const result = await post(request, headers)
  schemaWantsToken = (result.errors ?? []).some(({ extensions }) => extensions?.code === 'UNAUTHENTICATED')
  if (!schemaWantsToken) return result
  return { errors: [{ message: `The schema is not loaded: ${result.errors[0].message} ${TOKEN_HINT}` }] }
}

async function post(request, headers) {
  const response = await fetch(ENDPOINT, {
    method: 'POST',
    headers: { ...headers, accept: 'application/json', 'content-type': 'application/json' },
    body: JSON.stringify(request),
  })
  const text = await response.text()
  try {
    const result = JSON.parse(text)
    submittedId = result.data?.upscaleImage?.task?.id ?? submittedId
    return result
  } catch {
    return { errors: [{ message: `HTTP ${response.status}, and no JSON: ${text.slice(0, 500)}` }] }
  }
}

/** A subscription on its own socket (graphql-transport-ws), as the observable that GraphiQL expects. */
function follow(request, headers) {
  const subscribe = (observer) => {
    const socket = new WebSocket(ENDPOINT.href.replace(/^http/, 'ws'), 'graphql-transport-ws')
    let ended = false
    const send = (message) => socket.send(JSON.stringify(message))
    const end = (errors) => {
      if (ended) return
      ended = true
      if (errors) observer.next({ errors })
      observer.complete()
      socket.close(1000)
    }
    socket.onopen = () => send({ type: 'connection_init', payload: toConnectionParams(headers) })
    socket.onclose = (event) => end([{ message: toCloseMessage(event) }])
    socket.onmessage = ({ data }) => {
      const { type, payload } = JSON.parse(data)
      if (type === 'connection_ack') send({ id: '1', type: 'subscribe', payload: request })
      else if (type === 'ping') send({ type: 'pong' })
      else if (type === 'next') observer.next(payload)
      else if (type === 'error') end(payload)
      else if (type === 'complete') end()
    }
    return {
      unsubscribe() {
        ended = true
        socket.close(1000)
      },
    }
  }
  return { subscribe }
}

/** Header names are case-insensitive; the server reads these two spellings. */
function toConnectionParams(headers) {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}

function toCloseMessage({ code, reason }) {
  if (code === 4401 || code === 4403)
    return `The server closed the connection: the token is missing, wrong or expired (${code} ${reason}). ${TOKEN_HINT}`
  if (code === 1006) return 'The connection to the server failed (1006).'
  return `The server closed the connection: ${reason || 'no reason given'} (${code}).`
}

/** Loads the schema once the headers contain a token. */
export function onEditHeaders(text) {
  clearTimeout(typing)
  if (!schemaWantsToken || !isJson(text)) return
  typing = setTimeout(refetchSchema, TYPING_PAUSE_MS)
}

function isJson(text) {
  try {
    return typeof JSON.parse(text) === 'object'
  } catch {
    return false
  }
}

/** Uses GraphiQL's keyboard shortcut, because it exports no function for this. */
function refetchSchema() {
  window.dispatchEvent(new KeyboardEvent('keydown', { key: 'R', ctrlKey: true, shiftKey: true }))
}

/** Writes the id of the submitted task to the variables of "Follow" once that tab is opened. */
export function onTabChange({ tabs, activeTabIndex }) {
  if (submittedId === undefined || tabs[activeTabIndex]?.operationName !== 'Follow') return
  const variables = JSON.stringify({ id: submittedId }, null, 2)
  submittedId = undefined
  // GraphiQL is changing its state now, and then shows the stored variables of the tab.
  setTimeout(() => toVariablesModel()?.setValue(variables))
}

/** GraphiQL exports no function for this. */
function toVariablesModel() {
  return self.monaco?.editor.getModels().find(({ uri }) => uri.path.endsWith('variables.json'))
}
