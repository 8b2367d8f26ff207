/** Starts the service from the environment and ends it on SIGINT or SIGTERM. The only file that says `process`. */
const MINIMUM_NODE = 24
/** How long the process may go on once the service has stopped. */
const EXIT_MS = 1_000

const [major = 0] = process.versions.node.split('.').map(Number)
if (major < MINIMUM_NODE) {
  console.error(
    `The upscale gateway needs Node ${MINIMUM_NODE} or newer; this is ${process.versions.node}. ` +
      'Use `npm start`: it runs on the Node that `npm ci` installs with the project.',
  )
  process.exitCode = 1
} else {
  // Imported only now: an older Node fails on these modules before it could say why.
  const { readConfig, ConfigError } = await import('./config.ts')
  const { findLookalikes } = await import('./settings-given.ts')
  const { StartError, toListenError } = await import('./start-error.ts')
  const hints = findLookalikes(process.env).map(
    ({ name, meant }) => `${name} is not a setting of this service: did you mean ${meant}?`,
  )
  try {
    const config = readConfig(process.env)
    await main(config, hints).catch((error: unknown) => {
      throw toListenError(error, config) ?? error
    })
  } catch (error) {
    // An error that the operator can remedy is one line; any other error needs its stack.
    const expected = error instanceof ConfigError || error instanceof StartError
    console.error(expected ? error.message : error)
    if (error instanceof ConfigError) for (const hint of hints) console.error(hint)
    process.exitCode = 1
  }
}

async function main(config: import('./config.ts').Config, hints: readonly string[]): Promise<void> {
  const { createLogger } = await import('./log.ts')
  const log = createLogger(config.logLevel, process.stdout.isTTY)
  for (const hint of hints) log.warn(hint)
  const alone = process.argv[2] === 'sandbox'
  const service = alone
    ? await (await import('./sandbox/standalone.ts')).startSandbox(config, log)
    : await (await import('./service.ts')).startService(config, log)
  // Once: a second signal ends the process in the system's own way.
  const signal = await new Promise<string>((resolve) => {
    process.once('SIGINT', resolve)
    process.once('SIGTERM', resolve)
  })
  log.info(`${signal}: stopping`)
  await service[Symbol.asyncDispose]()
  log.info('stopped')
  // Fires only if something still holds the process: a connection to a server that does not answer.
  setTimeout(() => process.exit(), EXIT_MS).unref()
}
