import { describe, expect, test } from '@jest/globals'
import { createLogger } from '../../src/log.ts'
import { startService } from '../../src/service.ts'
import { parseSettings } from '../../src/settings.ts'
import { createTerminal } from '../../src/terminal.ts'
import { openTestDatabase } from '../support/database.ts'
import { waitFor } from '../support/wait-for.ts'

/** The service with the log of a terminal: what it has written, and a function that submits a picture. */
async function openTerminal({ details = false, color = false } = {}) {
  await using opened = new AsyncDisposableStack()
  const database = opened.use(await openTestDatabase())
  const settings = parseSettings({
    PORT: '0',
    DATABASE_URL: database.url,
    RESULT_STORE: 'off',
    RESULT_INSPECT_MS: '0',
  })
  let text = ''
  const terminal = createTerminal({ color, details, write: (more) => (text += more) })
  const service = await startService(settings, createLogger('debug', terminal), {
    sandboxCompleteAfterMs: 20,
  })
  const rest = opened.move()
  return {
    url: service.url,
    text: () => text,
    async submit(taskId: string) {
      await fetch(`${service.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          query:
            'mutation ($taskId: ID!) { upscaleImage(input: { taskId: $taskId, imageIndex: 2 }) { replayed } }',
          variables: { taskId },
        }),
      })
    },
    async [Symbol.asyncDispose]() {
      await service[Symbol.asyncDispose]()
      await rest.disposeAsync()
    },
  }
}

describe('the log on a terminal', () => {
  test('begins with a banner that names the console, GraphQL, the demo and the mode, and nothing else', async () => {
    await using terminal = await openTerminal()
    const lines = terminal
      .text()
      .split('\n')
      .filter((line) => line !== '')
    expect(lines).toEqual([
      expect.stringMatching(
        /^ {2}Upscale gateway [\d.]+ {2}SANDBOX: upscales are simulated and cost nothing$/,
      ),
      `  Console  ${terminal.url}/console`,
      `  GraphQL  ${terminal.url}/graphql`,
      '  Demo     npm run demo',
    ])
  })

  test('has one line for each event of a task', async () => {
    await using terminal = await openTerminal()
    const banner = terminal.text().length
    await terminal.submit('my-picture')
    await waitFor(() => terminal.text().includes('SUCCEEDED'))
    const lines = terminal.text().slice(banner).trimEnd().split('\n')
    expect(lines.map((line) => line.split(/ {2,}/).toSpliced(3, 1))).toEqual([
      [expect.stringMatching(/^\d\d:\d\d:\d\d$/), 'SUBMITTED', 'my-picture#2', 'submitted'],
      [expect.any(String), 'PROCESSING', 'my-picture#2', 'accepted by the upscale service'],
      [expect.any(String), 'SUCCEEDED', 'my-picture#2', expect.any(String)],
    ])
  })

  test('names the code of a failure', async () => {
    await using terminal = await openTerminal()
    await terminal.submit('sandbox-callback-501')
    await waitFor(() => terminal.text().includes('FAILED'))
    expect(terminal.text()).toMatch(/FAILED {6}sandbox-callback-501#2 {2}\S+ {2}GENERATION_FAILED: /)
  })

  test('shows warnings', async () => {
    await using terminal = await openTerminal()
    await terminal.submit('sandbox-code-402')
    await waitFor(() => terminal.text().includes('FAILED'))
    expect(terminal.text()).toMatch(/WARN: the upstream did not accept the task/)
  })

  test('shows every line at the level debug', async () => {
    await using terminal = await openTerminal({ details: true })
    await terminal.submit('my-picture')
    await waitFor(() => terminal.text().includes('an operation ended'))
    for (const sentence of ['SANDBOX mode', 'was migrated', 'a task was submitted'])
      expect(terminal.text()).toContain(sentence)
  })

  test('has colors only if the terminal has them', async () => {
    await using plain = await openTerminal()
    await using colored = await openTerminal({ color: true })
    expect(plain.text()).not.toContain('\u001b')
    expect(colored.text()).toContain('\u001b[32mSANDBOX\u001b[39m')
  })
})
