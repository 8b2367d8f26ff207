/** The pictures of results: inspection, copies and links. */
import { resultStore } from './result-store.ts'
import { baseUrl } from './urls.ts'
import { hosts, integer, onOff, optional, text } from './values.ts'

export const resultSettings = {
  resultStore: optional(resultStore).describe(
    'Where copies of results are stored: `file:./data/results`, or `s3://BUCKET/PREFIX?endpoint=…&region=…` of any S3-compatible store. `off`: no copies, and links expire. Default: `file:./data/results` in sandbox mode, `off` in live mode. With `file:`, all replicas must share the folder. S3 takes its credentials from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`: see [results](docs/results.md).',
  ),
  awsAccessKeyId: optional(text).describe('The access key of the S3 store.'),
  awsSecretAccessKey: optional(text).describe('The secret key of the S3 store.'),
  awsSessionToken: optional(text).describe('The session token of temporary credentials for the S3 store.'),
  resultInspectMs: integer(0, 600_000)
    .prefault('5000')
    .describe(
      'How long the inspection of a result may delay SUCCEEDED. After this time a task succeeds with the facts that are known; the others follow. `0`: no inspection.',
    ),
  resultUrl: optional(baseUrl).describe(
    'The base of the links of copies, such as the address of a CDN in front of this service. Default: `PUBLIC_URL`.',
  ),
  resultRedirect: onOff
    .prefault('off')
    .describe(
      '`on`: links of copies redirect to presigned URLs of the S3 store. `off`: the service streams copies.',
    ),
  resultAllowHosts: hosts
    .default([])
    .describe(
      'Private hosts that results may be downloaded from, separated by commas. Other private addresses are refused. In sandbox mode the host of the sandbox is always allowed.',
    ),
}
