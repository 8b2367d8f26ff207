import type { SandboxOptions } from '../../src/sandbox/sandbox.ts'
import { startSandbox } from '../../src/sandbox/standalone.ts'
import { startCallbackReceiver, type CallbackReceiver } from './callback-receiver.ts'
import type { Fields, VendorClient } from './vendor-clients.ts'

interface VendorAnswer {
  readonly status: number
  readonly type: string
  readonly retryAfter: string | null
  /** The JSON of the answer, or its text. */
  readonly body: Fields | string
}

/** A standalone sandbox, the receiver of its callbacks, and the requests of a vendor's customer. */
export interface VendorWorld extends AsyncDisposable {
  readonly url: string
  readonly receiver: CallbackReceiver<Fields>
  request(path: string, headers: Record<string, string>, body?: object): Promise<VendorAnswer>
  /** Submits a source task, with the receiver's path `/hook` for callbacks. */
  submit(vendor: VendorClient, source: string, options?: SubmitOptions): Promise<VendorAnswer>
  poll(vendor: VendorClient, id: string): Promise<VendorAnswer>
  /** The credits in the purse, as kie.ai reports them. */
  credits(): Promise<number>
  /** Resolves when a callback that was due before would have arrived. */
  settled(): Promise<void>
}

interface SubmitOptions {
  readonly index?: number
  /** The path of the receiver; null: no callbacks. */
  readonly hook?: string | null
}

const KEY = 'any-key'

/** Starts a sandbox with upscales that take 10 ms. */
export async function openVendorWorld(options: Partial<SandboxOptions> = {}): Promise<VendorWorld> {
  await using opened = new AsyncDisposableStack()
  const receiver = opened.use(await startCallbackReceiver<Fields>())
  const log = { info: () => undefined, warn: () => undefined }
  const address = { host: '127.0.0.1', port: 0, sandboxImages: null }
  const { url } = opened.use(await startSandbox(address, log, { completeAfterMs: 10, ...options }))
  const request = async (path: string, headers: Record<string, string>, body?: object) => {
    const response = await fetch(url + path, {
      headers: { ...headers, 'content-type': 'application/json' },
      ...(body && { method: 'POST', body: JSON.stringify(body) }),
    })
    const type = response.headers.get('content-type') ?? ''
    const received = await response.text()
    return {
      status: response.status,
      type,
      retryAfter: response.headers.get('retry-after'),
      body: type.startsWith('application/json') ? (JSON.parse(received) as Fields) : received,
    }
  }
  const kie = { authorization: `Bearer ${KEY}` }
  let fences = 0
  const rest = opened.move()
  return {
    url,
    receiver,
    request,
    submit(vendor, source, { index = 0, hook = '/hook' } = {}) {
      const target = hook === null ? null : receiver.url + hook
      const { path, body } = vendor.submit({ url, source, index, hook: target })
      return request(path, vendor.auth(KEY), body)
    },
    poll: (vendor, id) => request(vendor.poll(id), vendor.auth(KEY)),
    async credits() {
      const { body } = await request('/api/v1/chat/credit', kie)
      return Number((body as Fields).data)
    },
    async settled() {
      fences += 1
      const path = `/fence-${fences}`
      // Three callbacks, one after the other, of a task that is due last.
      const body = { taskId: 'sandbox-duplicate', imageIndex: 0, callBackUrl: receiver.url + path }
      await request('/api/v1/mj/generateUpscale', kie, body)
      await receiver.nth(3, path)
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
