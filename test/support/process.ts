import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as pause } from 'node:timers/promises'

/** How long a database may be too busy to answer within the service's time limits, in milliseconds. */
const MAX_BUSY_MS = 20_000

/**
 * The built service as a process of its own (`npm test` builds before it tests); killed at the end, if it
 * still runs. `args`: another build, or a command.
 */
export async function startProcess(settings: Record<string, string>, args = ['dist/main.js']) {
  const child = spawn(process.execPath, args, {
    env: { PORT: '0', RESULT_INSPECT_MS: '0', RESULT_STORE: 'off', ...settings },
    stdio: 'pipe',
  })
  const exited = once(child, 'exit').then(([code, signal]) => ({
    code: code as number,
    signal: signal as string,
  }))
  let output = ''
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const lines = createInterface(child.stdout)
  lines.on('line', (line) => (output += `${line}\n`))
  const ready = new Promise<string>((resolve) => {
    lines.on('line', (line) => {
      const url = /GraphQL at (http:\/\/[\d.:]+)/.exec(line)?.[1]
      if (url !== undefined) resolve(url)
    })
  })
  const url = await Promise.race([ready, exited.then(() => '')])
  const post = (query: string) =>
    fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query }),
    })
  return {
    child,
    url,
    exited,
    output: () => output,
    /** Resolves when a line of the log has this in it. */
    logged: (text: string) =>
      new Promise<void>((resolve) =>
        lines.on('line', (line) => {
          if (line.includes(text)) resolve()
        }),
      ),
    run: async (query: string): Promise<unknown> => (await post(query)).json(),
    /**
     * Runs an operation that is not itself under test, again while the service asks for it by `Retry-After`:
     * the database may be busy with the processes of other tests.
     */
    async runWhenAvailable(query: string): Promise<unknown> {
      const startedAt = performance.now()
      for (;;) {
        const response = await post(query)
        const isBusy = response.status === 503 && response.headers.has('retry-after')
        if (!isBusy || performance.now() - startedAt > MAX_BUSY_MS) return response.json()
        await response.body?.cancel()
        await pause(50)
      }
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exited
    },
  }
}
