/** The operation of the page as code to copy. */
interface SnippetInput {
  readonly url: string
  /** Whether the gateway wants a token. */
  readonly isBearer: boolean
  readonly taskId: string
  readonly imageIndices: readonly number[]
  readonly waterMark: string
  readonly engine: string
  readonly queue: boolean
}

export interface Snippet {
  readonly name: string
  readonly text: string
}

export function toSnippets(input: SnippetInput): Snippet[] {
  return [
    { name: 'curl', text: toCurl(input) },
    { name: 'TypeScript', text: toTypeScript(input) },
    { name: 'React', text: toReact(input) },
    { name: 'GraphQL', text: toOperation(input) },
  ]
}

/** The URL of GraphiQL with the operation in it. */
export function toGraphiqlUrl(input: SnippetInput): string {
  return `${input.url}?${new URLSearchParams({ query: toOperation(input) }).toString()}`
}

/** The fields of the input that differ from their defaults. */
function toFields({ taskId, waterMark, engine, queue }: SnippetInput): Record<string, unknown> {
  return {
    taskId,
    ...(waterMark !== '' && { waterMark }),
    ...(engine !== '' && { engine }),
    ...(!queue && { queue }),
  }
}

function toLiteral(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(toLiteral).join(', ')}]`
  if (typeof value === 'object' && value !== null)
    return `{ ${Object.entries(value)
      .map(([key, each]) => `${key}: ${toLiteral(each)}`)
      .join(', ')} }`
  return JSON.stringify(value)
}

function toOperation(input: SnippetInput): string {
  const { taskId, ...options } = toFields(input)
  return `mutation Upscale {
  upscaleImages(input: ${toLiteral({ taskId, imageIndices: input.imageIndices, ...options })}) {
    results {
      task { id status version }
      problem { code message retryable retryAfterMs }
      replayed
    }
  }
}
`
}

const CURL_QUERY =
  'mutation($input: UpscaleImagesInput!) { upscaleImages(input: $input) { results { task { id } problem { code message } } } }'

function toCurl(input: SnippetInput): string {
  const { taskId, ...options } = toFields(input)
  const variables = { input: { taskId, imageIndices: input.imageIndices, ...options } }
  return `curl ${input.url} \\
  -H 'content-type: application/json' \\${input.isBearer ? '\n  -H "authorization: Bearer $TOKEN" \\' : ''}
  -d @- <<'JSON'
{
  "query": ${JSON.stringify(CURL_QUERY)},
  "variables": ${JSON.stringify(variables)}
}
JSON
`
}

/** The input of `upscaleImage`, as TypeScript; its `queue` is false by default. */
function toInput(input: SnippetInput): readonly string[] {
  const { queue: _, ...fields } = toFields(input)
  const all = Object.entries({ ...fields, ...(input.queue && { queue: true }) })
  return all.map(([name, value]) => `${name}: ${typeof value === 'string' ? toQuoted(value) : String(value)}`)
}

function toQuoted(text: string): string {
  const escaped = JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")
  return `'${escaped}'`
}

function toTransport({ url, isBearer }: SnippetInput): string {
  if (!isBearer) return `const client = createHttpTransport({ url: '${url}' })`
  return `const token = 'YOUR_TOKEN'
const client = createHttpTransport({
  url: '${url}',
  getAuthorization: () => \`Bearer \${token}\`,
})`
}

function toTypeScript(input: SnippetInput): string {
  const fields = [...toInput(input), 'imageIndex', 'idempotencyKey: crypto.randomUUID()'].join(', ')
  return `import { createHttpTransport, followTask, submit } from 'upscale-gateway-client'

${toTransport(input)}
const selection = 'images { url width height } problem { code message }'

async function upscale(imageIndex: number) {
  const input = { ${fields} }
  const { task } = await submit(client, { input, selection })
  for await (const state of followTask(client, { id: task.id, selection }))
    console.log(imageIndex, state.status, state)
}

await Promise.all([${input.imageIndices.join(', ')}].map(upscale))
`
}

function toReact(input: SnippetInput): string {
  const [imageIndex = 0] = input.imageIndices
  const fields = [...toInput(input), `imageIndex: ${imageIndex}`].join(', ')
  return `import { createHttpTransport } from 'upscale-gateway-client'
import { useUpscale } from 'upscale-gateway-client/react'

${toTransport(input)}

export function Upscale() {
  const { task, status, problem, submit, retry } = useUpscale({ client })
  if (problem) return <button onClick={() => void retry()}>{problem.message} Retry</button>
  if (status === 'SUCCEEDED') return <img src={task?.images?.[0]?.url} alt="" />
  const start = () => void submit({ ${fields} })
  return <button onClick={start} disabled={status !== 'IDLE'}>{status === 'IDLE' ? 'Upscale' : status}</button>
}
`
}
