import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdir } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { openTempDir } from './temp-dir.ts'

/** A server that a test starts for itself, stops and starts again: on a free port, which it keeps. */
export interface TestServer extends AsyncDisposable {
  readonly url: string
  readonly process: () => ChildProcess
  start(): Promise<void>
  /** Ends it at once; what is connected is cut off. */
  stop(): Promise<void>
}

export async function findPort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  return port
}

/** Resolves when something listens there. */
async function listening(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, '127.0.0.1')
    const open = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (open) return
    await new Promise(setImmediate)
  }
}

/** Starts and stops a server that is a process. */
export function control(
  url: string,
  port: number,
  run: () => ChildProcess,
  signal: NodeJS.Signals,
  isUp = () => listening(port),
) {
  let child: ChildProcess
  return {
    url,
    process: () => child,
    async start() {
      child = run()
      await isUp()
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGCONT')
      child.kill(signal)
      await once(child, 'exit')
    },
  }
}

/** The user to run servers as that will not run as root; undefined: oneself. */
export function toServiceUser(): { uid: number; gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres']))
  return { uid: id('-u'), gid: id('-g') }
}

/** PostgreSQL, which will not run as root. `more`: further arguments. */
export async function startPostgres(parent?: string, ...more: string[]): Promise<TestServer> {
  const dir = await openTempDir(parent)
  const data = `${dir.path}/data`
  await mkdir(data)
  const user = toServiceUser()
  if (user !== undefined) for (const path of [dir.path, data]) await chown(path, user.uid, user.gid)
  execFileSync('initdb', ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync'], {
    ...user,
    stdio: 'ignore',
  })
  const port = await findPort()
  const args = ['-D', data, '-p', String(port), '-k', dir.path, '-c', 'listen_addresses=127.0.0.1', ...more]
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const run = () => spawn('postgres', args, { ...user, stdio: 'ignore' })
  const isUp = async () => {
    for (;;) {
      try {
        execFileSync('pg_isready', ['-h', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' })
        return
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }
  // SIGINT is its fast shutdown: it closes all connections.
  const server = control(url, port, run, 'SIGINT', isUp)
  await server.start()
  return {
    ...server,
    async [Symbol.asyncDispose]() {
      await server.stop()
      await dir[Symbol.asyncDispose]()
    },
  }
}

export async function startRedis(...more: string[]): Promise<TestServer> {
  const port = await findPort()
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', ...more]
  const run = () => spawn('redis-server', args, { stdio: 'ignore' })
  const server = control(`redis://127.0.0.1:${port}`, port, run, 'SIGKILL')
  await server.start()
  return { ...server, [Symbol.asyncDispose]: () => server.stop() }
}
