/** A small reader of executable GraphQL documents: no validation beyond the syntax that it needs. */

type Variables = Readonly<Record<string, unknown>>
/** Reads a literal or a variable. */
type Value = (variables: Variables) => unknown

export interface Field {
  readonly kind: 'field'
  /** The key in the answer: the alias, or the name. */
  readonly key: string
  readonly name: string
  readonly args: ReadonlyMap<string, Value>
  readonly directives: readonly Directive[]
  readonly selections: readonly Selection[]
}

interface Directive {
  readonly name: string
  readonly args: ReadonlyMap<string, Value>
}

type Selection =
  | Field
  | { readonly kind: 'spread'; readonly name: string; readonly directives: readonly Directive[] }
  | {
      readonly kind: 'inline'
      readonly directives: readonly Directive[]
      readonly selections: readonly Selection[]
    }

interface Variable {
  readonly name: string
  readonly isRequired: boolean
  readonly defaultValue: Value | undefined
}

export interface Operation {
  readonly kind: 'query' | 'mutation' | 'subscription'
  readonly name: string | null
  readonly variables: readonly Variable[]
  readonly selections: readonly Selection[]
}

export interface GraphqlDocument {
  readonly operations: readonly Operation[]
  readonly fragments: ReadonlyMap<string, readonly Selection[]>
}

const TOKEN =
  /(?:[\s,\uFEFF]|#[^\n\r]*)*(\.\.\.|[!$&()=:@[\]{|}]|[_A-Za-z]\w*|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|"""(?:\\"""|[^])*?"""|"(?:\\.|[^"\\\n\r])*"|$)/y
const NAME = /^[_A-Za-z]/

/** @throws SyntaxError */
export function parseDocument(source: string): GraphqlDocument {
  return new Parser(source).document()
}

class Parser {
  readonly #tokens: string[] = []
  #at = 0

  constructor(source: string) {
    TOKEN.lastIndex = 0
    for (;;) {
      const start = TOKEN.lastIndex
      const token = TOKEN.exec(source)?.[1]
      if (token === undefined)
        throw new SyntaxError(`Syntax Error: Unexpected character near "${source.slice(start, start + 20)}".`)
      if (token === '') return
      this.#tokens.push(token)
    }
  }

  document(): GraphqlDocument {
    const operations: Operation[] = []
    const fragments = new Map<string, readonly Selection[]>()
    do {
      if (this.#skip('fragment')) {
        const name = this.#name()
        this.#expect('on')
        this.#name()
        this.#directives()
        fragments.set(name, this.#selections())
      } else operations.push(this.#operation())
    } while (this.#peek() !== undefined)
    return { operations, fragments }
  }

  #operation(): Operation {
    if (this.#peek() === '{')
      return { kind: 'query', name: null, variables: [], selections: this.#selections() }
    const kind = this.#next()
    if (kind !== 'query' && kind !== 'mutation' && kind !== 'subscription') throw this.#unexpected(kind)
    const name = NAME.test(this.#peek() ?? '') ? this.#name() : null
    const variables: Variable[] = []
    if (this.#skip('(')) while (!this.#skip(')')) variables.push(this.#variable())
    this.#directives()
    return { kind, name, variables, selections: this.#selections() }
  }

  #variable(): Variable {
    this.#expect('$')
    const name = this.#name()
    this.#expect(':')
    const isNonNull = this.#type()
    const defaultValue = this.#skip('=') ? this.#value() : undefined
    this.#directives()
    return { name, isRequired: isNonNull && defaultValue === undefined, defaultValue }
  }

  /** Skips a type, and returns whether it is non-null. */
  #type(): boolean {
    if (this.#skip('[')) {
      this.#type()
      this.#expect(']')
    } else this.#name()
    return this.#skip('!')
  }

  #selections(): Selection[] {
    this.#expect('{')
    const selections: Selection[] = []
    while (!this.#skip('}')) selections.push(this.#selection())
    return selections
  }

  #selection(): Selection {
    if (!this.#skip('...')) return this.#field()
    const isCondition = this.#skip('on')
    const name = NAME.test(this.#peek() ?? '') ? this.#name() : null
    const directives = this.#directives()
    return name === null || isCondition
      ? { kind: 'inline', directives, selections: this.#selections() }
      : { kind: 'spread', name, directives }
  }

  #field(): Field {
    const key = this.#name()
    const name = this.#skip(':') ? this.#name() : key
    const args = this.#args()
    const directives = this.#directives()
    const selections = this.#peek() === '{' ? this.#selections() : []
    return { kind: 'field', key, name, args, directives, selections }
  }

  #directives(): Directive[] {
    const directives: Directive[] = []
    while (this.#skip('@')) directives.push({ name: this.#name(), args: this.#args() })
    return directives
  }

  #args(): Map<string, Value> {
    return this.#skip('(') ? this.#pairs(')') : new Map<string, Value>()
  }

  #pairs(end: string): Map<string, Value> {
    const pairs = new Map<string, Value>()
    while (!this.#skip(end)) {
      const name = this.#name()
      this.#expect(':')
      pairs.set(name, this.#value())
    }
    return pairs
  }

  #value(): Value {
    if (this.#skip('$')) {
      const name = this.#name()
      return (variables) => variables[name]
    }
    if (this.#skip('[')) {
      const items: Value[] = []
      while (!this.#skip(']')) items.push(this.#value())
      return (variables) => items.map((item) => item(variables))
    }
    if (this.#skip('{')) {
      const pairs = this.#pairs('}')
      return (variables) => readArgs(pairs, variables)
    }
    const literal = toLiteral(this.#next())
    return () => literal
  }

  #peek(): string | undefined {
    return this.#tokens[this.#at]
  }

  #next(): string {
    const token = this.#peek()
    if (token === undefined) throw this.#unexpected('<EOF>')
    this.#at += 1
    return token
  }

  #name(): string {
    const token = this.#next()
    return NAME.test(token) ? token : this.#fail(token)
  }

  #skip(token: string): boolean {
    if (this.#peek() !== token) return false
    this.#at += 1
    return true
  }

  #expect(token: string): void {
    if (!this.#skip(token)) this.#fail(this.#peek() ?? '<EOF>')
  }

  #fail(token: string): never {
    throw this.#unexpected(token)
  }

  #unexpected(token: string): SyntaxError {
    return new SyntaxError(`Syntax Error: Unexpected ${token}.`)
  }
}

function toLiteral(token: string): unknown {
  if (token.startsWith('"""')) return token.slice(3, -3).replaceAll('\\"""', '"""').trim()
  if (token.startsWith('"')) return JSON.parse(token)
  if (token === 'true' || token === 'false') return token === 'true'
  if (token === 'null') return null
  return NAME.test(token) ? token : Number(token)
}

/** The values of arguments, or of the fields of an input object. A missing variable is a missing argument. */
export function readArgs(args: ReadonlyMap<string, Value>, variables: Variables): Record<string, unknown> {
  const entries = [...args].map(([name, value]) => [name, value(variables)] as const)
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined))
}

/** The fields of a selection set, with fragments, `@skip` and `@include` applied. Equal keys are merged. */
export function collectFields(
  selections: readonly Selection[],
  { fragments }: GraphqlDocument,
  variables: Variables,
): Field[] {
  const fields = new Map<string, Field>()
  const add = (some: readonly Selection[]) => {
    for (const selection of some) {
      if (!isIncluded(selection.directives, variables)) continue
      if (selection.kind === 'field') {
        const known = fields.get(selection.key)
        const merged = [...(known?.selections ?? []), ...selection.selections]
        fields.set(selection.key, { ...selection, selections: merged })
      } else if (selection.kind === 'inline') add(selection.selections)
      else add(fragments.get(selection.name) ?? [])
    }
  }
  add(selections)
  return [...fields.values()]
}

function isIncluded(directives: readonly Directive[], variables: Variables): boolean {
  return directives.every(({ name, args }) => {
    if (name !== 'skip' && name !== 'include') return true
    return (readArgs(args, variables).if === true) === (name === 'include')
  })
}
