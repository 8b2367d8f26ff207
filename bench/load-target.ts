/** One replica under load, whose upstream accepts all tasks. */
import { Agent, fetch } from 'undici'
import { json, startScriptedUpstream } from '../test/support/scripted-upstream.ts'
import { OWN } from './compare/contenders.ts'
import { openDatabase } from './soak/database.ts'
import { startReplica } from './replica.ts'

const RESULT = 'https://example.com/result.png'

export interface Target {
  readonly url: string
  readonly replica: Awaited<ReturnType<typeof startReplica>>
  /** Submits a task. `callBack` posts its callback and resolves to the HTTP status and the duration. */
  submit(): Promise<{ id: string; callBack(): Promise<{ status: number; ms: number }> }>
}

/**
 * On SQLite, or on PostgreSQL when TEST_DATABASE_URL is set. `connections`: the maximum of HTTP connections,
 * without WebSockets; null: no limit.
 */
export async function withReplica(
  connections: number | null,
  work: (target: Target) => Promise<void>,
): Promise<void> {
  await using database = await openDatabase()
  await using upstream = await startScriptedUpstream()
  let created = 0
  const accepted = new Map<string, { taskId: string; callBackUrl: string }>()
  upstream.onCreate = (response, request) => {
    upstream.received.length = 0
    const taskId = `upstream-${(created += 1)}`
    const { callBackUrl } = JSON.parse(request.body) as { callBackUrl: string }
    accepted.set(callBackUrl.split('/').at(-2) ?? '', { taskId, callBackUrl })
    json(200, { code: 200, data: { taskId } })(response, request)
  }
  await using service = await startReplica({
    DATABASE_URL: database.url,
    UPSTREAM_URL: upstream.url,
    ...OWN.env,
    // As the container image sets it.
    MALLOC_ARENA_MAX: '2',
  })
  const query = 'mutation ($input: UpscaleImageInput!) { upscaleImage(input: $input) { task { id } } }'
  const headers = { 'content-type': 'application/json' }
  const dispatcher = new Agent({ connections })
  let submitted = 0
  await work({
    url: service.url,
    replica: service,
    async submit() {
      const variables = { input: { taskId: `load-${(submitted += 1)}`, imageIndex: 0 } }
      const response = await fetch(`${service.url}/graphql`, {
        method: 'POST',
        headers,
        body: JSON.stringify({ query, variables }),
        dispatcher,
      })
      const { data } = (await response.json()) as { data: { upscaleImage: { task: { id: string } } } }
      const { id } = data.upscaleImage.task
      const { taskId, callBackUrl } = accepted.get(id) ?? { taskId: '', callBackUrl: '' }
      accepted.delete(id)
      const body = JSON.stringify({ code: 200, data: { taskId, resultUrls: [RESULT] } })
      return {
        id,
        async callBack() {
          const startedAt = performance.now()
          const response = await fetch(callBackUrl, { method: 'POST', body, dispatcher })
          await response.arrayBuffer()
          return { status: response.status, ms: performance.now() - startedAt }
        },
      }
    },
  })
  await dispatcher.close()
}
