import { expect, test } from '@jest/globals'
import { redact } from '../../src/upstream/redact.ts'

test.each<[string, string, string[], string]>([
  ['every occurrence', 'key abc, again abc', ['abc'], 'key [redacted], again [redacted]'],
  ['a key with slashes as a whole', 'key a/b/c.', ['a/b/c'], 'key [redacted].'],
  ['a key that ends in a slash', 'key a/b/, b/', ['a/b/'], 'key [redacted], b/'],
  ['the longer of two secrets that begin together', 'abcdef abc', ['abc', 'abcdef'], '[redacted] [redacted]'],
  ['a secret inside another', 'xabcdx', ['bc', 'abcd'], 'x[redacted]x'],
  ['secrets that overlap', 'xabcdefx', ['abcd', 'cdef'], 'x[redacted]x'],
  ['a secret that overlaps itself', 'xabababx', ['abab'], 'x[redacted]x'],
  ['secrets side by side', 'abcd', ['ab', 'cd'], '[redacted][redacted]'],
  ['no empty secret', 'abc', ['', 'b'], 'a[redacted]c'],
  ['every URL', 'see https://a.example/x?y and http://b', [], 'see [url] and [url]'],
  ['nothing else', 'nothing', ['secret'], 'nothing'],
])('redacts %s', (_what, text, secrets, redacted) => {
  expect(redact(text, secrets)).toBe(redacted)
})
