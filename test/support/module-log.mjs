// Loaded with --import: writes the URL of each module of OpenTelemetry that the process loads to its error output.
import { registerHooks } from 'node:module'

registerHooks({
  load(url, context, next) {
    if (url.includes('@opentelemetry')) process.stderr.write(`loaded ${url}\n`)
    return next(url, context)
  },
})
