// Loaded with --import: writes the URL of each part of the bundle that the process loads to its error output.
import { registerHooks } from 'node:module'

registerHooks({
  load(url, context, next) {
    if (url.includes('/dist/')) process.stderr.write(`loaded ${url}\n`)
    return next(url, context)
  },
})
