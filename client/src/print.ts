/** A node of a document as parsers of GraphQL create it. */
export interface AstNode {
  readonly kind?: unknown
  readonly [key: string]: unknown
}

/** Prints an executable document. The text is compact; parsed again, it is the same document. */
export function print(node: AstNode): string {
  const show = (key: string, before = '', after = ' ') => {
    const text = printPart(node[key])
    return text && before + text + after
  }
  const args = () => show('arguments', '(', ')')
  const variables = () => show('variableDefinitions', '(', ')')
  const rest = () => show('directives') + show('selectionSet')
  switch (node.kind) {
    case 'OperationDefinition':
      return show('description') + show('operation') + show('name') + variables() + rest()
    case 'VariableDefinition':
      return (
        show('description') +
        show('variable') +
        show('type', ':') +
        show('defaultValue', '=') +
        show('directives')
      )
    case 'Variable':
      return show('name', '$')
    case 'SelectionSet':
      return show('selections', '{', '}')
    case 'Field':
      return show('alias', '', ':') + show('name') + args() + rest()
    case 'FragmentSpread':
      return show('name', '...') + rest()
    case 'InlineFragment':
      return '...' + show('typeCondition', 'on ') + rest()
    case 'FragmentDefinition':
      return (
        show('description') + show('name', 'fragment ') + variables() + show('typeCondition', 'on ') + rest()
      )
    case 'Directive':
      return show('name', '@') + args()
    case 'Argument':
    case 'ObjectField':
      return show('name', '', ':') + show('value')
    case 'StringValue':
      return printString(String(node.value), node.block === true)
    case 'NullValue':
      return 'null'
    case 'ListValue':
      return `[${show('values')}]`
    case 'ObjectValue':
      return `{${show('fields')}}`
    case 'ListType':
      return show('type', '[', ']')
    case 'NonNullType':
      return show('type', '', '!')
    default:
      // Document, NamedType, and the kinds that have only a value.
      return show('definitions') + show('name', '', '') + show('value', '', '')
  }
}

/** A property of a node: a node, nodes, text or a boolean. Empty if it is absent. */
function printPart(part: unknown): string {
  if (Array.isArray(part)) return part.map(printPart).join(' ')
  return typeof part === 'object' && part
    ? print(part as AstNode)
    : String((part as string | boolean | undefined) ?? '')
}

function printString(value: string, isBlock: boolean): string {
  if (!isBlock) return JSON.stringify(value)
  // The indentation of the first line would be removed on a line of its own, if it is the only one.
  const before = value.includes('\n') ? '\n' : ''
  return `"""${before}${value.replaceAll('"""', '\\"""')}\n"""`
}
