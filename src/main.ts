/**
 * Starts the service from the environment and stops it on SIGINT or SIGTERM, or runs the command that its
 * argument names. The only file that uses `process`.
 */
const MINIMUM_NODE = 24
/** How long the process may continue once the service has stopped. */
const EXIT_MS = 1_000

const [major = 0] = process.versions.node.split('.').map(Number)
if (major < MINIMUM_NODE) {
  console.error(
    `The upscale gateway needs Node ${MINIMUM_NODE} or newer; this is ${process.versions.node}. ` +
      'Use `npm start`: it runs on the Node that `npm ci` installs with the project.',
  )
  process.exitCode = 1
} else {
  // Compiled modules are kept for the next start, in Node's own folder for temporary files.
  const { enableCompileCache } = await import('node:module')
  enableCompileCache()
  // Imported only now, because an older Node would fail on these modules before the check of the version.
  const { parseSettings, SettingsError } = await import('./settings.ts')
  const { SETTING_NAMES } = await import('./settings/schema.ts')
  const { findLookalikes } = await import('./settings/environment.ts')
  const { StartError, toListenError } = await import('./start-error.ts')
  const hints = findLookalikes(process.env, SETTING_NAMES).map(
    ({ name, meant }) => `${name} is not a setting of this service: did you mean ${meant}?`,
  )
  try {
    const settings = parseSettings(process.env)
    await main(settings, hints).catch((error: unknown) => {
      throw toListenError(error, settings) ?? error
    })
  } catch (error) {
    // An error that the operator can remedy is one line; any other error needs its stack.
    const expected = error instanceof SettingsError || error instanceof StartError
    console.error(expected ? error.message : error)
    if (error instanceof SettingsError) for (const hint of hints) console.error(hint)
    process.exitCode = 1
  }
}

/** Runs a command: what it starts, or undefined if it has ended. */
async function run(
  command: string | undefined,
  settings: import('./settings.ts').Settings,
  log: import('pino').Logger,
): Promise<AsyncDisposable | undefined> {
  switch (command) {
    case undefined:
      return startTraced(settings, log)
    case 'sandbox':
      return (await import('./sandbox/standalone.ts')).startSandbox(settings, log)
    case 'migrate':
      await (await import('./migrate.ts')).migrateDatabase(settings, log)
      return undefined
    case 'erase': {
      const { text, exitCode } = await (
        await import('./erase.ts')
      ).erase(settings, process.argv.slice(3), log)
      console.log(text)
      process.exitCode = exitCode
      return undefined
    }
    default: {
      const { StartError } = await import('./start-error.ts')
      throw new StartError(
        `"${command}" is no command: use erase, migrate, sandbox, or none to start the service`,
      )
    }
  }
}

/** Starts the service. Disposing also sends its last spans. */
async function startTraced(
  settings: import('./settings.ts').Settings,
  log: import('pino').Logger,
): Promise<AsyncDisposable> {
  const { readVersions } = await import('./system.ts')
  const { openTracing } = await import('./tracing/open-tracing.ts')
  const { startService } = await import('./service.ts')
  const { version } = readVersions()
  const tracing = await openTracing(process.env, { version, log })
  const service = await startService(settings, log, { tracing })
  return {
    async [Symbol.asyncDispose]() {
      await service[Symbol.asyncDispose]()
      await tracing[Symbol.asyncDispose]()
    },
  }
}

/** On a terminal, a log for people. A command has no banner. */
async function openLog(
  level: import('./settings.ts').Settings['logLevel'],
  isCommand: boolean,
): Promise<import('pino').Logger> {
  const { createLogger } = await import('./log.ts')
  if (!process.stdout.isTTY) return createLogger(level)
  const { createTerminal } = await import('./terminal.ts')
  const { stdout } = process
  const details = isCommand || level === 'debug' || level === 'trace'
  return createLogger(
    level,
    createTerminal({ color: stdout.hasColors(), details, write: (text) => stdout.write(text) }),
  )
}

async function main(settings: import('./settings.ts').Settings, hints: readonly string[]): Promise<void> {
  const log = await openLog(settings.logLevel, process.argv[2] !== undefined)
  for (const hint of hints) log.warn(hint)
  const service = await run(process.argv[2], settings, log)
  if (service === undefined) return
  // Once: a second signal ends the process by the system's default.
  const signal = await new Promise<string>((resolve) => {
    process.once('SIGINT', resolve)
    process.once('SIGTERM', resolve)
  })
  log.info(`${signal}: stopping`)
  await service[Symbol.asyncDispose]()
  log.info('stopped')
  // Needed only if a connection to a server that does not answer still keeps the process alive.
  setTimeout(() => process.exit(), EXIT_MS).unref()
}
