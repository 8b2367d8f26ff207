import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { composeServices } from '@apollo/composition'
import { ApolloServer } from '@apollo/server'
import { ApolloServerPluginInlineTraceDisabled } from '@apollo/server/plugin/disabled'
import { startStandaloneServer } from '@apollo/server/standalone'
import { buildSubgraphSchema } from '@apollo/subgraph'
import { parse } from 'graphql'

const FOLDER = 'test/supergraph'
const GALLERY_SDL = readFileSync(`${FOLDER}/gallery.graphql`, 'utf8')

/** A port that was free just now. */
export async function findPort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  await once(probe, 'close')
  return port
}

/** Another team's subgraph, which owns MidjourneyTask and extends UpscaleTask. */
export async function startGallery() {
  const toConnection = (ids: string[]) => ({
    nodes: ids.map((id) => ({ id })),
    pageInfo: { hasNextPage: false, hasPreviousPage: false },
  })
  const resolvers = {
    Query: {
      midjourneyTask: (_source: unknown, { id }: { id: string }) => ({ id }),
      gallery: (_source: unknown, { ids }: { ids: string[] }) => toConnection(ids),
    },
    MidjourneyTask: {
      __resolveReference: ({ id }: { id: string }) => ({ id }),
      prompt: ({ id }: { id: string }) => `the prompt of ${id}`,
      createdAt: () => '2026-01-01T00:00:00.000Z',
    },
    UpscaleTask: {
      __resolveReference: ({ id }: { id: string }) => ({ id }),
      likes: ({ id }: { id: string }) => id.length,
    },
  }
  const schema = buildSubgraphSchema([{ typeDefs: parse(GALLERY_SDL), resolvers }])
  const plugins = [ApolloServerPluginInlineTraceDisabled()]
  const server = new ApolloServer({ schema, plugins, stopOnTerminationSignals: false })
  const { url } = await startStandaloneServer(server, { listen: { port: 0, host: '127.0.0.1' } })
  return { url, [Symbol.asyncDispose]: () => server.stop() }
}

/** Composes our schema and the gallery's, and writes the supergraph to a file. */
export async function writeSupergraph(
  file: string,
  urls: { upscale: string; gallery: string },
): Promise<void> {
  const { supergraphSdl, errors } = composeServices([
    { name: 'upscale', url: urls.upscale, typeDefs: parse(readFileSync('schema/schema.graphql', 'utf8')) },
    { name: 'gallery', url: urls.gallery, typeDefs: parse(GALLERY_SDL) },
  ])
  if (errors) throw new AggregateError(errors, 'The supergraph does not compose')
  await writeFile(file, supergraphSdl)
}

/** A process of test/supergraph; ready when it answers at `readyPath`. */
async function startGateway(
  [command = '', ...args]: string[],
  env: Record<string, string>,
  port: number,
  readyPath: string,
) {
  const child = spawn(command, args, {
    cwd: FOLDER,
    env: { PATH: process.env.PATH, NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    createInterface(stream).on('line', (line) => (output += `${line}\n`))
  const exited = once(child, 'exit')
  const url = `http://127.0.0.1:${port}`
  const answers = async () => {
    try {
      return (await fetch(url + readyPath, { signal: AbortSignal.timeout(1_000) })).status < 500
    } catch {
      return false
    }
  }
  while (!(await answers())) {
    if (child.exitCode !== null) throw new Error(`A gateway did not start:\n${output}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return {
    url,
    output: () => output,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** A router in front of us, and how it subscribes to us. */
export interface Router {
  readonly kind: 'Hive Gateway' | 'Hive Gateway, native planner' | 'Grafbase'
  /** Grafbase has one URL per subgraph for HTTP, so it cannot use `/graphql/stream`. */
  readonly subscriptions: 'ws' | 'sse'
}

interface Subgraphs {
  readonly upscale: string
  readonly gallery: string
  /** The file of the supergraph. */
  readonly supergraph: string
}

/** The `socketUrl` is where WebSocket clients connect. */
export async function startRouter({ kind, subscriptions }: Router, subgraphs: Subgraphs) {
  const port = await findPort()
  const start = kind === 'Grafbase' ? startGrafbase : startHive
  const planner = kind === 'Hive Gateway, native planner' ? 'native' : 'default'
  const router = await start(subgraphs, port, { SUBSCRIPTIONS: subscriptions, PLANNER: planner })
  return {
    ...router,
    socketUrl: `${router.url.replace('http', 'ws')}${kind === 'Grafbase' ? '/ws' : '/graphql'}`,
  }
}

function startHive({ supergraph }: Subgraphs, port: number, env: Record<string, string>) {
  const args = [process.execPath, 'node_modules/@graphql-hive/gateway/dist/bin.js', 'supergraph']
  args.push('--config-path', 'hive.config.mjs', '--host', '127.0.0.1', '--port', String(port))
  return startGateway(args, { SUPERGRAPH: supergraph, ...env }, port, '/readiness')
}

/** Grafbase composes the schemas itself. */
async function startGrafbase({ upscale, gallery, supergraph }: Subgraphs, port: number) {
  const home = dirname(supergraph)
  const args = ['node_modules/@grafbase/cli-x86_64-unknown-linux-musl/grafbase', '--home', home, 'dev']
  args.push('--config', 'grafbase.toml', '--listen-address', `127.0.0.1:${port}`)
  const env = { HOME: home, UPSCALE_HOST: new URL(upscale).host, GALLERY_URL: gallery }
  return startGateway(args, env, port, '/health')
}

export async function startApolloGateway(supergraph: string) {
  const port = await findPort()
  return startGateway(
    [process.execPath, 'apollo-gateway.mjs'],
    { SUPERGRAPH: supergraph, PORT: String(port) },
    port,
    '/',
  )
}
