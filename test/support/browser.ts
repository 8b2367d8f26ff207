import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { WebSocket } from 'ws'
import { openTempDir } from './temp-dir.ts'

/** A page in a real Chromium, driven over the DevTools protocol. */
export interface Page extends AsyncDisposable {
  open(url: string): Promise<void>
  /** Runs JavaScript in the page. */
  evaluate<T>(expression: string): Promise<T>
  /** Resolves once an expression is truthy there. */
  until(expression: string): Promise<void>
  /**
   * Clicks the middle of the first element that a selector finds, once that is there, at rest and not
   * covered.
   */
  click(selector: string): Promise<void>
  /** Types text where the focus is, with Ctrl+A first: it replaces what was there. */
  replaceText(text: string): Promise<void>
  press(key: string, modifiers?: number): Promise<void>
  setColourScheme(scheme: 'light' | 'dark'): Promise<void>
  /**
   * Opens a URL that is downloaded into this folder. Resolves to the name that was suggested for the file,
   * once it is there.
   */
  download(url: string, folder: string): Promise<string>
  /** A picture of the page, PNG. */
  screenshot(): Promise<Buffer>
  /** The URLs of everything that was loaded or connected to, and what was sent on WebSockets. */
  readonly requests: string[]
  readonly sent: string[]
}

type Params = Record<string, unknown>
interface Message {
  readonly id?: number
  readonly method?: string
  readonly params?: Params
  readonly result?: Params
  readonly error?: { readonly message: string }
}

const CONTROL = 2

/** Starts Chromium with an empty profile. `program` is its path. */
export async function openBrowser(program: string): Promise<Page> {
  await using opened = new AsyncDisposableStack()
  const profile = opened.use(await openTempDir())
  const child = spawn(
    program,
    [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--window-size=1280,800',
      '--remote-debugging-port=0',
      `--user-data-dir=${profile.path}`,
      'about:blank',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  opened.defer(async () => {
    const exited = once(child, 'exit')
    if (child.kill('SIGKILL')) await exited
  })
  const socket = new WebSocket(await readAddress(child.stderr))
  opened.defer(() => socket.terminate())
  await once(socket, 'open')
  const page = await attach(socket)
  const rest = opened.move()
  return { ...page, [Symbol.asyncDispose]: () => rest.disposeAsync() }
}

async function readAddress(stderr: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface(stderr)) {
    const address = /DevTools listening on (ws:.*)/.exec(line)?.[1]
    if (address !== undefined) return address
  }
  throw new Error('Chromium ended before it listened')
}

/** JavaScript for the page: resolves to the middle of an element as soon as two frames agree on it. */
const FIND_SPOT = `(selector) => new Promise((resolve) => {
  let last
  const look = () => {
    const element = document.querySelector(selector)
    const box = element?.getBoundingClientRect()
    const spot = box && { x: box.x + box.width / 2, y: box.y + box.height / 2 }
    const resting = spot && last && spot.x === last.x && spot.y === last.y
    if (resting && element.contains(document.elementFromPoint(spot.x, spot.y))) return resolve(spot)
    last = spot
    requestAnimationFrame(look)
  }
  look()
})`

async function attach(socket: WebSocket): Promise<Omit<Page, typeof Symbol.asyncDispose>> {
  const waiting = new Map<number, (message: Message) => void>()
  const requests: string[] = []
  const sent: string[] = []
  const loaded: (() => void)[] = []
  const downloads: Params[] = []
  const changed: (() => void)[] = []
  const session: { sessionId?: string } = {}
  let last = 0
  const send = async (method: string, params: Params = {}): Promise<Params> => {
    const id = (last += 1)
    const answer = new Promise<Message>((resolve) => waiting.set(id, resolve))
    socket.send(JSON.stringify({ id, method, params, ...session }))
    const { result, error } = await answer
    if (error) throw new Error(`${method}: ${error.message}`)
    return result ?? {}
  }
  socket.on('message', (data: Buffer) => {
    const { id, method, params = {}, ...rest } = JSON.parse(data.toString()) as Message
    if (id !== undefined) waiting.get(id)?.(rest)
    if (method === 'Page.loadEventFired') for (const resolve of loaded.splice(0)) resolve()
    if (method?.startsWith('Browser.download')) {
      downloads.push(params)
      for (const resolve of changed.splice(0)) resolve()
    }
    if (method === 'Network.requestWillBeSent') requests.push((params.request as { url: string }).url)
    if (method === 'Network.webSocketCreated') requests.push(String(params.url))
    if (method === 'Network.webSocketFrameSent')
      sent.push((params.response as { payloadData: string }).payloadData)
  })
  const { targetInfos } = (await send('Target.getTargets')) as {
    targetInfos: { targetId: string; type: string }[]
  }
  const targetId = targetInfos.find(({ type }) => type === 'page')?.targetId
  const attached = await send('Target.attachToTarget', { targetId, flatten: true })
  session.sessionId = String(attached.sessionId)
  for (const domain of ['Page', 'Network', 'Runtime']) await send(`${domain}.enable`)

  const evaluate = async <T>(expression: string): Promise<T> => {
    const options = { expression, returnByValue: true, awaitPromise: true }
    const { result, exceptionDetails } = await send('Runtime.evaluate', options)
    if (exceptionDetails) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`)
    return (result as { value: T }).value
  }
  const press = async (key: string, modifiers = 0) => {
    const code = key.length === 1 ? key.toUpperCase().charCodeAt(0) : key === 'Enter' ? 13 : 0
    const event = { key, modifiers, windowsVirtualKeyCode: code }
    await send('Input.dispatchKeyEvent', { type: 'rawKeyDown', ...event })
    await send('Input.dispatchKeyEvent', { type: 'keyUp', ...event })
  }
  return {
    requests,
    sent,
    evaluate,
    press,
    async open(url) {
      const load = new Promise<void>((resolve) => loaded.push(resolve))
      await send('Page.navigate', { url })
      await load
    },
    // The page's own frames are the events that it may have changed at.
    until: (expression) =>
      evaluate(`new Promise((resolve) => {
        const look = () => ((${expression}) ? resolve() : requestAnimationFrame(look))
        look()
      })`),
    async click(selector) {
      const { x, y } = await evaluate<{ x: number; y: number }>(`(${FIND_SPOT})(${JSON.stringify(selector)})`)
      const event = { x, y, button: 'left', clickCount: 1 }
      for (const type of ['mousePressed', 'mouseReleased'])
        await send('Input.dispatchMouseEvent', { type, ...event })
    },
    async replaceText(text) {
      await press('a', CONTROL)
      await send('Input.insertText', { text })
    },
    async setColourScheme(value) {
      await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value }] })
    },
    async download(url, downloadPath) {
      downloads.length = 0
      await send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath, eventsEnabled: true })
      // It answers that the navigation was given up.
      await send('Page.navigate', { url })
      while (!downloads.some(({ state }) => state === 'completed'))
        await new Promise<void>((resolve) => changed.push(resolve))
      return String(downloads[0]?.suggestedFilename)
    },
    async screenshot() {
      const { data } = await send('Page.captureScreenshot', { format: 'png' })
      return Buffer.from(String(data), 'base64')
    },
  }
}
