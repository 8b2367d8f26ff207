import * as z from 'zod'
import { baseUrl, isDecodable } from './urls.ts'

/** Where copies of results are stored. */
export type ResultStore =
  | { readonly kind: 'file'; readonly folder: string }
  | {
      readonly kind: 's3'
      readonly bucket: string
      /** Without slashes at its ends; empty: the whole bucket. */
      readonly prefix: string
      readonly endpoint: string
      readonly region: string
    }
  | { readonly kind: 'off' }

/**
 * `off`, `file:FOLDER`, or `s3://BUCKET/PREFIX?endpoint=URL&region=NAME`, of which only the bucket is
 * required.
 */
export const resultStore = z.string().transform((text, context): ResultStore => {
  if (text === 'off') return { kind: 'off' }
  const [, folder] = /^file:(.+)$/.exec(text) ?? []
  if (folder !== undefined) return { kind: 'file', folder }
  const parsed = parseBucket(text)
  if (!('fault' in parsed)) return parsed
  context.addIssue(parsed.fault)
  return z.NEVER
})

/** Parses the URL of a bucket; `fault` is the reason why it is invalid. */
function parseBucket(text: string): Extract<ResultStore, { kind: 's3' }> | { readonly fault: string } {
  const [, bucket, path = '', query = ''] = /^s3:\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(text) ?? []
  if (bucket === undefined)
    return { fault: 'must be off, file:FOLDER or s3://BUCKET/PREFIX?endpoint=URL&region=NAME' }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) || bucket.includes('..'))
    return { fault: 'must name a bucket of 3 to 63 lower-case letters, digits, dots and hyphens' }
  const prefix = path.replace(/\/$/, '')
  if (!isDecodable(prefix) || (prefix !== '' && /(^|\/)\.{0,2}(\/|$)/.test(decodeURIComponent(prefix))))
    return {
      fault: 'must have a prefix without empty names, "." and "..", with special characters percent-encoded',
    }
  const parameters = new URLSearchParams(query)
  const names = [...parameters.keys()]
  if (names.some((name) => name !== 'endpoint' && name !== 'region') || new Set(names).size < names.length)
    return { fault: 'must have no other parameters than endpoint and region, each once' }
  const region = parameters.get('region') ?? 'us-east-1'
  if (!/^[a-z0-9-]+$/.test(region)) return { fault: 'must have a region such as us-east-1' }
  const endpoint = baseUrl.safeParse(parameters.get('endpoint') ?? `https://s3.${region}.amazonaws.com`)
  if (!endpoint.success)
    return { fault: 'must have an endpoint that is an http(s) URL without user info, query or fragment' }
  return { kind: 's3', bucket, prefix: decodeURIComponent(prefix), endpoint: endpoint.data, region }
}
