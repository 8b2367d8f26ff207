/**
 * The files that the service runs or reads beside its own code. In `src` and in the bundle they have the same
 * relative paths.
 */
import { fileURLToPath } from 'node:url'

/** In tests and in development Node runs the TypeScript itself. */
const toProgram = (name: string) =>
  new URL(`${name}${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)

/** The child process that downloads and decodes pictures. */
export const PICTURE_PROGRAM = toProgram('picture-program')
/** The worker thread that renders the page of GraphiQL. */
export const GRAPHIQL_WORKER = toProgram('graphiql-worker')
/** The built console. Beside `src` and `dist` alike. */
export const CONSOLE_FOLDER = fileURLToPath(new URL('../console/dist', import.meta.url))
