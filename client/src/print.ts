/** A node of a document as parsers of GraphQL create it. */
export interface AstNode {
  readonly kind?: unknown
  readonly [key: string]: unknown
}

/**
 * How nodes are printed: each word is a property, omitted with its signs if it is absent. `&` is the keyword
 * `on`.
 */
const FORMATS: Readonly<Record<string, string>> = {
  Argument: 'name: value',
  ObjectField: 'name: value',
  ListType: '[type]',
  NonNullType: 'type!',
  ListValue: '[ values ]',
  ObjectValue: '{ fields }',
}
/** All other kinds. None has more than some of these properties. */
const COMMON =
  'definitions operation variable: type =defaultValue alias: name (variableDefinitions) (arguments) &typeCondition directives selectionSet {selections} value'
const PREFIXES: Readonly<Record<string, string>> = {
  Variable: '$',
  Directive: '@',
  FragmentSpread: '...',
  InlineFragment: '...',
  FragmentDefinition: 'fragment ',
}

/**
 * Prints an executable document. The text is compact; parsed again, it is the same document. Descriptions are
 * omitted.
 */
export function print(node: AstNode): string {
  const kind = String(node.kind)
  // A block string is the same value as a string.
  if (kind === 'StringValue') return JSON.stringify(node.value)
  if (kind === 'NullValue') return 'null'
  const show = (_: string, before: string, key: string, after: string) => {
    const text = printPart(node[key])
    return text && (before === '&' ? 'on ' : before) + text + after
  }
  const format = (FORMATS[kind] ?? COMMON).split(' ')
  const parts = format.map((part) => part.replace(/(\W?)(\w+)(\W?)/, show)).filter(Boolean)
  return (PREFIXES[kind] ?? '') + parts.join(' ')
}

/** A property of a node: a node, nodes, text or a boolean. Empty if it is absent. */
function printPart(part: unknown): string {
  if (Array.isArray(part)) return part.map(printPart).join(' ')
  return typeof part === 'object' && part
    ? print(part as AstNode)
    : String((part as string | boolean | undefined) ?? '')
}
