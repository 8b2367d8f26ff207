/**
 * Writes the files that are generated from the code: the schemas, the page of error codes, and the client's
 * catalogue. With `--check` it writes nothing, and fails if a committed file differs.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { mapSchema, MapperKind, pruneSchema } from '@graphql-tools/utils'
import { GraphQLSchema, printSchema, specifiedDirectives } from 'graphql'
import { z } from 'zod'
import { ERROR_EXTENSION_KEYS } from '../src/graphql/errors.ts'
import { createSchema, readSdl } from '../src/graphql/schema.ts'
import { CATALOGUE, UPSCALE_ERROR_CODES } from '../src/tasks/failure.ts'
import { ADAPTERS } from '../src/upstream/adapters.ts'
import type { DialectCode } from '../src/upstream/dialect.ts'
import { callbackBody } from '../src/upstream/kie-midjourney/wire.ts'
import { CLIENT_CATALOGUE, printClientCatalogue } from './client-catalogue.ts'

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined }

const row = (code: (typeof UPSCALE_ERROR_CODES)[number]): string => {
  const { upstreamCode, retryable, retryAfterMs, nothingCharged, description } = CATALOGUE[code]
  const wait = retryAfterMs === null ? '' : `${retryAfterMs / 1_000} s`
  const cells = [
    `\`${code}\``,
    upstreamCode ?? '',
    retryable ? 'yes' : 'no',
    wait,
    nothingCharged ? 'yes' : '',
    description,
  ]
  return `| ${cells.join(' | ')} |`
}

/** A section per table of codes, with the names of the adapters that share it. */
function toCodeSections(): string {
  const namesByCodes = new Map<readonly DialectCode[], string[]>()
  for (const [name, { createDialect }] of Object.entries(ADAPTERS)) {
    const { codes } = createDialect({ model: null, factor: null })
    namesByCodes.set(codes, [...(namesByCodes.get(codes) ?? []), name])
  }
  const sections = [...namesByCodes].map(([codes, names]) => {
    const heading = names.map((name) => `\`${name}\``).join(', ')
    return `### ${heading}\n\n| upstream | at | code | retryable | |\n|---|---|---|---|---|\n${codes.map(toCodeRow).join('\n')}`
  })
  return sections.join('\n\n')
}

function toCodeRow({ upstreamCode, at, code, meaning }: DialectCode): string {
  const [ours, retryable] =
    code === null ? ['not a failure', ''] : [`\`${code}\``, CATALOGUE[code].retryable ? 'yes' : 'no']
  return `| ${upstreamCode} | ${at} | ${ours} | ${retryable} | ${meaning} |`
}

const errorsPage = `# Error codes

<!-- Generated from the catalogue in src/tasks/failure.ts and the tables in src/upstream by \`npm run schema:emit\`. -->

## Failures of a task

As \`problem\`, or as a typed GraphQL error with the same keys in \`extensions\`. *Upstream* is kie.ai's code, which
arrives in the body of an HTTP 200, as the HTTP status, in a callback or in the answer to a poll. *Wait* is \`retryAfterMs\`, unless the
upstream sends \`Retry-After\`. *Key freed*: after a refusal with this code at submit the
idempotency key can be used again, because nothing can have been charged.

| code | upstream | retryable | wait | key freed | |
|---|---|---|---|---|---|
${UPSCALE_ERROR_CODES.map(row).join('\n')}

The codes of the other engines are [below](#codes-by-engine). 200 is success. Any other code of kie.ai is
\`UPSTREAM_PROTOCOL_ERROR\`, with the raw code in \`upstreamCode\`. After an answer without an envelope \`upstreamCode\` is the
HTTP status. It is null if the gateway detects the failure itself: the rows without an *upstream* code, and
\`UPSTREAM_NOT_FOUND\` of an accepted task that the polls do not find (code 422, not 404).
An accepted task that ends as \`UPSTREAM_NOT_FOUND\` was charged; a late result still counts.

## When a submit counts as refused

A refusal needs evidence. Without evidence the request may have been accepted and charged: the task stays \`SUBMITTED\`,
is never sent again, and ends by a callback, or as \`UPSTREAM_OUTCOME_UNKNOWN\` at its deadline. \`history\`
describes the answer.

| answer to the submit | outcome |
|---|---|
| no connection was established | \`UPSTREAM_UNREACHABLE\`; nothing was sent |
| the upstream's envelope with a code that is not a success, with any HTTP status | the code's row in the table of its engine |
| no envelope, HTTP 429 | \`UPSTREAM_RATE_LIMITED\`; \`Retry-After\` is honoured, the key is freed |
| no envelope, HTTP 503 | \`UPSTREAM_MAINTENANCE\`; \`Retry-After\` is honoured, the key is freed |
| no envelope, HTTP 407, 511 (a proxy in between), 521, 522, 523, 525, 526, 530 (a CDN that did not reach the origin) | \`UPSTREAM_UNREACHABLE\`; \`Retry-After\` is honoured, the key is freed |
| no envelope, HTTP 401, 402, 404 | \`UPSTREAM_UNAUTHORIZED\`, \`INSUFFICIENT_CREDITS\`, \`UPSTREAM_NOT_FOUND\`; the key is freed |
| no envelope, HTTP 403, 405, 411, 413, 414, 415, 417, 421, 426, 431 | \`UPSTREAM_PROTOCOL_ERROR\`; the key is freed |
| anything else: HTTP 500, 502, 504, 520, 524 without an envelope, HTTP 200 without a task id, a lost answer | unknown |

An envelope is a body with a code of the engine:

- kie.ai: \`code\`.
- midjourney-proxy: \`code\`, unless the HTTP status is 5xx.
- LegNext: \`code\` or \`error.code\`; with HTTP 400 or 422 also a \`message\` without a code. Code 500, and any code with HTTP 5xx,
  proves nothing: unknown. HTTP 2xx with a job id is accepted, even if the job has failed.

## Codes by engine

A code that is not listed is \`UPSTREAM_PROTOCOL_ERROR\`, with the code in \`upstreamCode\`. A failure of a task without a code is
\`GENERATION_FAILED\`, and \`upstreamCode\` is null. *At* is where the upstream sends the code.

${toCodeSections()}

## Faults of the request

These are always GraphQL errors, never a \`problem\`. They have the same keys in \`extensions\`.

| code | |
|---|---|
| \`BAD_USER_INPUT\` | An argument or variable is invalid; \`extensions.field\` names it. Long messages are cut; after 19 errors one last error reports that there are more. |
| \`TASK_NOT_FOUND\` | \`taskUpdated\`, \`tasksUpdated\`, and mutations of one task: no task of yours has this id. |
| \`TASK_RUNNING\` | \`deleteUpscaleTask\`: the task has not settled yet. Delete it after that. |
| \`TOO_LATE_TO_CANCEL\` | \`cancelUpscale\`: the task has been sent, so it is charged, or it has settled. |
| \`GRAPHQL_PARSE_FAILED\`, \`GRAPHQL_VALIDATION_FAILED\`, \`OPERATION_RESOLUTION_FAILURE\` | The document is invalid, or exceeds a limit. |
| \`PERSISTED_QUERY_NOT_FOUND\` | HTTP only: the hash is unknown or no longer cached; send it again with the document. |
| \`BAD_REQUEST\`, \`NOT_FOUND\`, \`PAYLOAD_TOO_LARGE\`, \`UNSUPPORTED_MEDIA_TYPE\` | The HTTP request is not a GraphQL request. \`BAD_REQUEST\` on a socket: the completed operation with this id has not ended yet. |
| \`UNAUTHENTICATED\` | HTTP 401, close code 4401: the bearer or watch token is missing or invalid. At the end of a stream, or close code 4403: the token has expired. |
| \`AUTH_UNAVAILABLE\` | HTTP 503, close code 1013: tokens cannot be verified at the moment. Retry after \`retryAfterMs\`. |
| \`FORBIDDEN\` | The token lacks the scope, the \`Host\` is not served, or a router's callback URL is not under \`SUBSCRIPTION_CALLBACK_URLS\`. |
| \`TOO_MANY_OPERATIONS\` | Too many operations run on this socket, or you have too many streams over HTTP. The streams of all guests of one task count together. |
| \`SERVICE_UNAVAILABLE\` | HTTP 503, or at the end of a stream: this replica is stopping (retry on another), or its database is unavailable (retry after \`retryAfterMs\`). [When a submit may be repeated](#when-a-submit-may-be-repeated). |
| \`INTERNAL_SERVER_ERROR\` | An unexpected error of the gateway. Report \`correlationId\` to the operator, who finds the cause in the log. |

## When a submit may be repeated

After \`SERVICE_UNAVAILABLE\` with \`retryable: true\`, a repeated submit never pays twice, even if the commit of the first one was not
confirmed: its idempotency key or its picture finds the first task, or the first task was not sent. A submit with
\`force: true\` and without an idempotency key finds no earlier task. If its task may have been sent before the database failed,
the error is not \`retryable\`: look for the task in \`upscaleTasks\` first.

An operation without any data is answered with HTTP 503 and \`Retry-After\`, also by \`/graphql/stream\`. An operation with partial
data keeps HTTP 200. A subscription that begins while the database is unavailable ends with one event that has this error; a
running subscription continues.
`

/** Returns a router's recipe with the keys of our errors' `extensions` in its list of forwarded keys. */
async function writeKeys(file: string): Promise<string> {
  const recipe = await readFile(file, 'utf8')
  const list = /( *)(# Written by `npm run schema:emit`\.\n)(?: *- .*\n)+/
  if (!list.test(recipe)) throw new Error(`${file} has no list of keys`)
  return recipe.replace(
    list,
    (_list, indent: string, head: string) =>
      indent + head + ERROR_EXTENSION_KEYS.map((key) => `${indent}- ${key}\n`).join(''),
  )
}

/**
 * The schema as clients see it: without the fields, types and directives of federation, because code
 * generators for clients cannot read `extend schema @link`. `printSchema` prints only GraphQL's own
 * directives.
 */
function printApi(schema: GraphQLSchema): string {
  const api = mapSchema(schema, {
    [MapperKind.ROOT_FIELD]: (field, name) => (name === '_entities' || name === '_service' ? null : field),
  })
  const withoutDirectives = new GraphQLSchema({ ...api.toConfig(), directives: specifiedDirectives })
  return `${printSchema(pruneSchema(withoutDirectives))}\n`
}

const schema = await createSchema(silent)
const files: Record<string, string> = {
  'schema/schema.graphql': await readSdl(schema),
  'schema/api.graphql': printApi(schema),
  'docs/errors.md': errorsPage,
  [CLIENT_CATALOGUE]: await printClientCatalogue(),
  'docs/supergraph/apollo-router.md': await writeKeys('docs/supergraph/apollo-router.md'),
  'docs/supergraph/cosmo.md': await writeKeys('docs/supergraph/cosmo.md'),
  'schema/callback.schema.json': `${JSON.stringify(z.toJSONSchema(callbackBody, { io: 'input' }), null, 2)}\n`,
}

const check = process.argv.includes('--check')
for (const [file, text] of Object.entries(files)) {
  if (!check) await writeFile(file, text)
  else if ((await readFile(file, 'utf8')) !== text) {
    console.error(`${file} differs from the code. Run: npm run schema:emit`)
    process.exitCode = 1
  }
}
