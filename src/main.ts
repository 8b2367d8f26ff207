/**
 * Starts the service from the environment and stops it on SIGINT or SIGTERM, or runs the command that its argument names. The
 * only file that uses `process`.
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

interface Parts {
  readonly log: import('pino').Logger
  readonly tracing: import('./tasks/tracing.ts').Tracing
}

/** Runs a command: what it starts, or undefined if it has ended. */
async function run(
  command: string | undefined,
  settings: import('./settings.ts').Settings,
  { log, tracing }: Parts,
): Promise<AsyncDisposable | undefined> {
  switch (command) {
    case undefined:
      return (await import('./service.ts')).startService(settings, log, { tracing })
    case 'sandbox':
      return (await import('./sandbox/standalone.ts')).startSandbox(settings, log)
    case 'migrate':
      await (await import('./backends.ts')).migrateDatabase(settings, log)
      return undefined
    default: {
      const { StartError } = await import('./start-error.ts')
      throw new StartError(`"${command}" is no command: use migrate, sandbox, or none to start the service`)
    }
  }
}

async function main(settings: import('./settings.ts').Settings, hints: readonly string[]): Promise<void> {
  const { createLogger } = await import('./log.ts')
  const { readVersions } = await import('./system.ts')
  const { openTracing } = await import('./tracing/open-tracing.ts')
  const log = createLogger(settings.logLevel, process.stdout.isTTY)
  const tracing = await openTracing(process.env, {
    version: readVersions().version,
    log,
  })
  for (const hint of hints) log.warn(hint)
  const service = await run(process.argv[2], settings, { log, tracing })
  if (service === undefined) return
  // Once: a second signal ends the process by the system's default.
  const signal = await new Promise<string>((resolve) => {
    process.once('SIGINT', resolve)
    process.once('SIGTERM', resolve)
  })
  log.info(`${signal}: stopping`)
  await service[Symbol.asyncDispose]()
  await tracing[Symbol.asyncDispose]()
  log.info('stopped')
  // Needed only if a connection to a server that does not answer still keeps the process alive.
  setTimeout(() => process.exit(), EXIT_MS).unref()
}
