import type { Browser, BrowserContextOptions } from 'playwright-core'
import { openConsole, startConsole } from './console.ts'
import { json, startScriptedUpstream } from './scripted-upstream.ts'

interface Submitted {
  readonly task: { readonly id: string } | null
  readonly problem: { readonly code: string; readonly taskId: string | null } | null
}

/** No downloads: the pictures of most tests do not exist. */
const QUICK = { RESULT_STORE: 'off', RESULT_INSPECT_MS: '0' }

const SUBMIT = `mutation ($input: UpscaleImageInput!) {
  upscaleImage(input: $input) { task { id } problem { code taskId } }
}`

interface ConsoleSceneOptions {
  readonly settings?: Record<string, string>
  /** The duration of an upscale. */
  readonly completeAfterMs?: number
  /** Whether results are inspected and copied. */
  readonly areKept?: boolean
}

/** A console, and the submits of another program of the same owner. */
export async function openConsoleScene(
  browser: Browser,
  { settings = {}, completeAfterMs = 20, areKept = false }: ConsoleSceneOptions = {},
) {
  await using opened = new AsyncDisposableStack()
  const all = { ...(!areKept && QUICK), ...settings }
  const { gateway, url } = opened.use(await startConsole(all, { sandboxCompleteAfterMs: completeAfterMs }))
  const rest = opened.move()
  return {
    gateway,
    url,
    /** Submits an upscale, and returns the id of its task, also if it is refused. */
    async submit(taskId: string, input: object = {}): Promise<string> {
      const all = { taskId, imageIndex: 0, force: true, ...input }
      const { data } = await gateway.run<{ upscaleImage: Submitted }, { input: object }>('HTTP', SUBMIT, {
        input: all,
      })
      const id = data?.upscaleImage.task?.id ?? data?.upscaleImage.problem?.taskId
      if (id == null) throw new Error(`The submit of ${taskId} has no task`)
      return id
    },
    open: (hash: string, options: BrowserContextOptions = {}) =>
      openConsole(browser, url, { hash, ...options }),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}

/** A console before an upstream that works on its tasks until a test settles them. */
export async function openScriptedConsole(browser: Browser, settings: Record<string, string> = {}) {
  await using opened = new AsyncDisposableStack()
  const upstream = opened.use(await startScriptedUpstream())
  let count = 0
  upstream.onCreate = (response, request) => {
    count += 1
    json(200, { code: 200, msg: 'success', data: { taskId: `upstream-${count}` } })(response, request)
  }
  const scene = opened.use(
    await openConsoleScene(browser, { settings: { UPSTREAM_URL: upstream.url, ...settings } }),
  )
  const rest = opened.move()
  /** Sends the callback about the n-th task that was sent to the upstream, from 1. */
  const call = async (n: number, body: object) => {
    const creates = upstream.received.filter(({ method }) => method === 'POST')
    const { callBackUrl } = JSON.parse(creates[n - 1]?.body ?? '') as { callBackUrl: string }
    const { status } = await fetch(callBackUrl, { method: 'POST', body: JSON.stringify(body) })
    if (status !== 200) throw new Error(`The callback was answered with ${status}`)
  }
  return {
    ...scene,
    /** The result is a picture that the console can load. */
    succeed: (n = 1) =>
      call(n, {
        code: 200,
        data: { taskId: `upstream-${n}`, resultUrls: [`${scene.url}/console/icon.svg`] },
      }),
    fail: (code: number, n = 1) => call(n, { code, msg: 'No.', data: { taskId: `upstream-${n}` } }),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
