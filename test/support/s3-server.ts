import { spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { AwsV4Signer } from 'aws4fetch'
import { openTempDir } from './temp-dir.ts'

/** Debian's Python, for which tools/install-s3-server.sh installs Swift. */
const PYTHON = '/usr/bin/python3'

/** Whether the S3 server is installed. */
export const hasS3Server = spawnSync(PYTHON, ['-c', 'import swift.common.middleware.s3api']).status === 0

export interface S3Server extends AsyncDisposable {
  readonly url: string
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string }
  /** Makes a new, empty bucket. */
  createBucket(): Promise<string>
}

/**
 * OpenStack Swift with its S3 API, in one process: it checks signatures, payload hashes and expiry as S3
 * does.
 */
export async function startS3Server(): Promise<S3Server> {
  const dir = await openTempDir()
  const credentials = { accessKeyId: 'gateway:tests', secretAccessKey: `secret-${randomUUID()}` }
  const { accessKeyId, secretAccessKey } = credentials
  const script = new URL('../s3/server.py', import.meta.url).pathname
  const child = spawn(PYTHON, [script, dir.path, accessKeyId, secretAccessKey], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const [port] = (await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => Promise.reject(new Error('The S3 server did not start'))),
  ])) as [Buffer]
  const url = `http://127.0.0.1:${port.toString().trim()}`
  return {
    url,
    credentials,
    async createBucket() {
      const name = `bucket-${randomUUID()}`
      const signer = new AwsV4Signer({ ...credentials, method: 'PUT', url: `${url}/${name}`, service: 's3' })
      const { headers } = await signer.sign()
      const { status } = await fetch(`${url}/${name}`, { method: 'PUT', headers })
      if (status !== 200) throw new Error(`The bucket was not made: ${status}`)
      return name
    },
    async [Symbol.asyncDispose]() {
      // The server ends with its input.
      child.stdin.end()
      if (child.exitCode === null) await once(child, 'exit')
      await dir[Symbol.asyncDispose]()
    },
  }
}
