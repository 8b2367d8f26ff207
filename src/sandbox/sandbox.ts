import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Completions, type CompletionOptions } from './completions.ts'
import { toState, type Dialect, type Reads } from './dialect.ts'
import { DIALECTS } from './dialects.ts'
import { openKeptTasks, type SandboxDatabase } from './kept-tasks.ts'
import { addPictures, toGeneration } from './picture-routes.ts'
import { readPictures } from './pictures.ts'
import { AccountLimit, type RateLimit } from './refusals.ts'
import { addSubmits, type SubmitParts } from './submits.ts'

export interface SandboxOptions extends CompletionOptions {
  /** A folder of pictures; null: they are drawn. */
  readonly images: string | null
  readonly database: SandboxDatabase
  /** The only API key that is accepted. Absent: any. */
  readonly apiKey?: string
  /** The limit of submits, as an account has one. Absent or null: none. */
  readonly rateLimit?: RateLimit | null
  /** A monotonic clock in milliseconds, for the limit. */
  readonly elapsed?: () => number
  /** Public base of picture URLs. Absent or null: the Host of the gateway's request. */
  readonly publicBase?: () => string | null
}

export interface Sandbox {
  /** Resumes the tasks that were pending when the last process ended. Call it once the server listens. */
  resume(): Promise<void>
}

const FIRST_CREDITS = 1_000

/**
 * Simulates the API of each upstream: submits, polls, credits, callbacks, result pictures. It enlarges real
 * pictures and charges nothing. Register it under any prefix.
 */
export async function addSandbox(app: FastifyInstance, options: SandboxOptions): Promise<Sandbox> {
  const pictures = await readPictures(options.images)
  const tasks = await openKeptTasks(options.database, options.log)
  const completions = new Completions(tasks, options)
  app.addHook('preClose', (done) => {
    completions.stop()
    done()
  })
  app.addHook('onClose', () => tasks[Symbol.asyncDispose]())
  const toBase = ({ protocol, host }: FastifyRequest) =>
    (options.publicBase?.() ?? `${protocol}://${host}`) + app.prefix
  const parts = { tasks, completions, limit: toAccountLimit(options), toBase }
  for (const dialect of DIALECTS)
    // A separate scope, because a test of the URL would miss other spellings of the same path.
    await app.register((api, _options, done) => {
      addAuthentication(api, dialect, options.apiKey)
      addSubmits(api, dialect, parts)
      dialect.addReads(api, toReads(dialect, parts))
      done()
    })
  addPictures(app, pictures)
  return completions
}

function toAccountLimit({ rateLimit, elapsed }: SandboxOptions): AccountLimit | undefined {
  return rateLimit ? new AccountLimit(rateLimit, elapsed ?? (() => performance.now())) : undefined
}

function addAuthentication(api: FastifyInstance, dialect: Dialect, apiKey: string | undefined): void {
  const { status, body } = dialect.unauthorized
  api.addHook('onRequest', async ({ headers }, reply) => {
    const key = dialect.toKey(headers)
    const isKnown = apiKey === undefined ? key !== '' : key === apiKey
    return isKnown ? undefined : reply.code(status).send(body)
  })
}

/** The form of the sandbox's own task ids. */
const OWN_ID = /^[0-9a-f]{32}$/

function toReads({ name, steps, isGeneration }: Dialect, { tasks, completions, toBase }: SubmitParts): Reads {
  return {
    async find(id) {
      const task = await tasks.find(id)
      if (task?.dialect !== name) return undefined
      const { completionCode } = completions.toScenario(task.request.taskId, name)
      return { task, state: toState(task, completionCode, steps, Date.now()) }
    },
    async findGeneration(id, incoming) {
      const isKnown = (isGeneration(id) && !OWN_ID.test(id)) || (await tasks.hasSource(id))
      return isKnown ? toGeneration(id, toBase(incoming)) : undefined
    },
    credits: async () => FIRST_CREDITS - (await tasks.count()),
  }
}
