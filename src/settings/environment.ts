/** Reads environment variables, and finds misspelt ones. */
import leven from 'leven'

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * The given settings by key, without surrounding white space; an empty variable counts as not given. `faults`
 * lists values damaged by copying or by an env file; they are not in `values`. No fault shows a value: it may
 * be a secret.
 */
export function readEnvironment(
  environment: Environment,
  keys: readonly string[],
  toName: (key: string) => string,
): { readonly values: Record<string, string>; readonly faults: string[] } {
  const values: Record<string, string> = {}
  const faults: string[] = []
  for (const key of keys) {
    const name = toName(key)
    const value = spellings(name)
      .map((each) => environment[each])
      .find((each) => each !== undefined && each !== '')
    if (value === undefined) continue
    const fault = findDamage(value.trim())
    if (fault === undefined) values[key] = value.trim()
    else faults.push(`${name} ${fault}`)
  }
  return { values, faults }
}

/** Other programs share the proxy variables, and read the lower-case name first. */
function spellings(name: string): string[] {
  return name.endsWith('_PROXY') ? [name.toLowerCase(), name] : [name]
}

/**
 * Invisible characters, which no setting contains: controls, line breaks, zero-width and directional marks,
 * BOM.
 */
const INVISIBLE = /[\p{Cc}\p{Cf}\u2028\u2029\u115f\u1160\u2800\u3164\uffa0]/u

function findDamage(text: string): string | undefined {
  if (text === '') return 'must not be only white space: unset it, or give a value'
  // Each item of a list may have its own line.
  const [invisible] = INVISIBLE.exec(text.replaceAll(/\s*,\s*/g, ',')) ?? []
  if (invisible !== undefined) {
    const point = (invisible.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')
    return `must not contain the invisible character U+${point}: type the value again`
  }
  if (/^(["'`]).*\1$|^[“‘].*[”’]$/s.test(text))
    return 'must not be in quotes: docker --env-file reads them as part of the value'
  return undefined
}

/** A variable that is not a setting, and the setting that was probably meant. */
interface Lookalike {
  readonly name: string
  readonly meant: string
}

/** Finds misspelt settings, such as UPSTREAM_APIKEY. */
export function findLookalikes(environment: Environment, settings: readonly string[]): Lookalike[] {
  const known = new Set(settings.flatMap(spellings))
  return Object.keys(environment).flatMap((name) => {
    const meant = known.has(name) ? undefined : settings.find((setting) => resembles(name, setting))
    return meant === undefined ? [] : [{ name, meant }]
  })
}

/** Short names (HOST, PORT) resemble too many others. */
const MIN_LENGTH = 8

function resembles(name: string, setting: string): boolean {
  const [one, other] = [normalise(name), normalise(setting)]
  if (Math.min(one.length, other.length) < MIN_LENGTH) return false
  const words = name.toUpperCase().split('_')
  const parts = setting.split('_')
  const isCut = words.length > 1 && words.length < parts.length && words.every((word, n) => word === parts[n])
  return isCut || isWithout(words, parts) || isMisspelt(one, other)
}

function isMisspelt(one: string, other: string): boolean {
  const limit = other.length < 12 ? 1 : 2
  // Comparing lengths first rules out most pairs: a start compares each variable with each setting.
  return Math.abs(one.length - other.length) <= limit && leven(one, other) <= limit
}

const normalise = (name: string) => name.toUpperCase().replaceAll(/[^A-Z0-9]/g, '')

/**
 * Whether a word in the middle is missing: UPSTREAM_KEY. Only if the first word is long: AUTH_URL may belong
 * to another program.
 */
function isWithout(words: readonly string[], parts: readonly string[]): boolean {
  const [first = ''] = parts
  return (
    first.length >= MIN_LENGTH &&
    words.length === parts.length - 1 &&
    words.length > 1 &&
    words[0] === first &&
    words.at(-1) === parts.at(-1) &&
    words.every((word) => parts.includes(word))
  )
}
