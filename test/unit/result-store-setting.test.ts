import { describe, expect, test } from '@jest/globals'
import { resultStore } from '../../src/settings/result-store.ts'

/** What the value is faulted for; empty if it is usable. */
const faultOf = (text: string) =>
  resultStore
    .safeParse(text)
    .error?.issues.map(({ message }) => message)
    .join()

describe('the setting of the store for copies', () => {
  test('off is no store', () => {
    expect(resultStore.parse('off')).toEqual({ kind: 'off' })
  })

  test('a folder is named by its path', () => {
    expect(resultStore.parse('file:./data/results')).toEqual({ kind: 'file', folder: './data/results' })
    expect(resultStore.parse('file:/var/lib/my results')).toEqual({
      kind: 'file',
      folder: '/var/lib/my results',
    })
  })

  test('a bucket alone is one of AWS in us-east-1, used as a whole', () => {
    const whole = {
      kind: 's3',
      bucket: 'my-bucket.1',
      prefix: '',
      endpoint: 'https://s3.us-east-1.amazonaws.com',
      region: 'us-east-1',
    }
    expect(resultStore.parse('s3://my-bucket.1')).toEqual(whole)
    expect(resultStore.parse('s3://my-bucket.1/')).toEqual(whole)
    expect(resultStore.parse('s3://my-bucket.1?region=eu-west-3')).toEqual({
      ...whole,
      endpoint: 'https://s3.eu-west-3.amazonaws.com',
      region: 'eu-west-3',
    })
  })

  test('prefix, endpoint and region can be chosen', () => {
    expect(
      resultStore.parse('s3://bucket/a%20b/c+d/?endpoint=http://127.0.0.1:9000/s3/&region=auto'),
    ).toEqual({
      kind: 's3',
      bucket: 'bucket',
      prefix: 'a b/c+d',
      endpoint: 'http://127.0.0.1:9000/s3',
      region: 'auto',
    })
    expect(resultStore.parse('s3://bucket?endpoint=https%3A%2F%2Fstore.example.com')).toMatchObject({
      endpoint: 'https://store.example.com',
    })
  })

  test.each([
    ['', 'must be off, file:FOLDER or s3://'],
    ['on', 'must be off, file:FOLDER or s3://'],
    ['file:', 'must be off, file:FOLDER or s3://'],
    ['./data/results', 'must be off, file:FOLDER or s3://'],
    ['https://bucket.example.com', 'must be off, file:FOLDER or s3://'],
    ['s3://bucket/a#b', 'must be off, file:FOLDER or s3://'],
    ['s3://', 'must name a bucket'],
    ['s3:///prefix', 'must name a bucket'],
    ['s3://no', 'must name a bucket'],
    ['s3://Bucket', 'must name a bucket'],
    ['s3://my..bucket', 'must name a bucket'],
    ['s3://bucket-', 'must name a bucket'],
    ['s3://user:secret@bucket', 'must name a bucket'],
    ['s3://bucket/a//b', 'must have a prefix without'],
    ['s3://bucket//a', 'must have a prefix without'],
    ['s3://bucket/../a', 'must have a prefix without'],
    ['s3://bucket/a/%2e%2e', 'must have a prefix without'],
    ['s3://bucket/100%', 'must have a prefix without'],
    ['s3://bucket?Region=a', 'must have no other parameters'],
    ['s3://bucket?acl=public', 'must have no other parameters'],
    ['s3://bucket?region=a&region=b', 'must have no other parameters'],
    ['s3://bucket?region=', 'must have a region'],
    ['s3://bucket?region=a.example.com/', 'must have a region'],
    ['s3://bucket?endpoint=', 'must have an endpoint'],
    ['s3://bucket?endpoint=store.example.com', 'must have an endpoint'],
    ['s3://bucket?endpoint=https://key:secret@store.example.com', 'must have an endpoint'],
    ['s3://bucket?endpoint=ftp://store.example.com', 'must have an endpoint'],
  ])('%j is refused: it %s', (value, fault) => {
    expect(faultOf(value)).toContain(fault)
    expect(faultOf(value)).not.toContain('secret')
  })
})
