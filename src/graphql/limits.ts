import {
  GraphQLError,
  Kind,
  OperationTypeNode,
  type ASTNode,
  type OperationDefinitionNode,
  type SelectionSetNode,
  type ValidationContext,
  type ValidationRule,
} from 'graphql'

/** Limits of one operation. */
export const LIMITS = {
  tokens: 1_000,
  depth: 10,
  aliases: 30,
  /** In characters. An alias is repeated for each item of a list. */
  aliasLength: 100,
  rootFields: 20,
  mutationFields: 1,
  directives: 20,
  /** Depends on the variables: see cost.ts. */
  cost: 1_000,
  errors: 20,
  /** graphql-js quotes the whole variable in each error: twenty errors about 60 KB take 20 ms. */
  variableErrors: 5,
} as const

/** A limit of one operation that refuses it. */
export type OperationLimit =
  'tokens' | 'depth' | 'aliases' | 'alias_length' | 'root_fields' | 'mutation_fields' | 'directives' | 'cost'

/** The size of a selection set, including its fragments. */
interface Size {
  readonly depth: number
  readonly aliases: number
  readonly directives: number
  readonly fields: number
}

const EMPTY: Size = { depth: 0, aliases: 0, directives: 0, fields: 0 }

/**
 * Limits depth, aliases, root fields and directives of each operation. A fragment counts each time it is
 * spread. Introspection fields are not measured: graphql-js limits them. Calls `onRefusal` for each limit
 * that is exceeded.
 */
export function createLimitsRule(onRefusal: (limit: OperationLimit) => void): ValidationRule {
  return (context) => {
    const fragments = new Map<string, Size>()
    const refuse = (limit: OperationLimit, node: ASTNode, message: string) => {
      onRefusal(limit)
      context.reportError(new GraphQLError(message, { nodes: node }))
    }
    return {
      Field({ alias: node }) {
        const length = node?.value.length ?? 0
        if (node && length > LIMITS.aliasLength)
          refuse(
            'alias_length',
            node,
            `An alias has ${length} characters; the limit is ${LIMITS.aliasLength}.`,
          )
      },
      OperationDefinition(node) {
        const size = measure(context, fragments, node.selectionSet)
        for (const [limit, unit, count, most] of toCounts(node, size))
          if (count > most) refuse(limit, node, `The operation has ${count} ${unit}; the limit is ${most}.`)
      },
    }
  }
}

function toCounts(node: OperationDefinitionNode, size: Size): [OperationLimit, string, number, number][] {
  const isMutation = node.operation === OperationTypeNode.MUTATION
  return [
    ['depth', 'levels deep', size.depth, LIMITS.depth],
    ['aliases', 'aliases', size.aliases, LIMITS.aliases],
    ['directives', 'directives', size.directives + (node.directives?.length ?? 0), LIMITS.directives],
    isMutation
      ? ['mutation_fields', 'mutation fields', size.fields, LIMITS.mutationFields]
      : ['root_fields', 'root fields', size.fields, LIMITS.rootFields],
  ]
}
function measure(context: ValidationContext, fragments: Map<string, Size>, set: SelectionSetNode): Size {
  const sum = { ...EMPTY }
  for (const node of set.selections) {
    const isField = node.kind === Kind.FIELD
    const isIntrospection = isField && node.name.value.startsWith('__')
    const inner =
      node.kind === Kind.FRAGMENT_SPREAD
        ? measureFragment(context, fragments, node.name.value)
        : node.selectionSet && !isIntrospection
          ? measure(context, fragments, node.selectionSet)
          : EMPTY
    sum.depth = Math.max(sum.depth, inner.depth + (isField ? 1 : 0))
    sum.aliases += inner.aliases + (isField && node.alias ? 1 : 0)
    sum.directives += inner.directives + (node.directives?.length ?? 0)
    sum.fields += isField ? Number(!isIntrospection) : inner.fields
  }
  return sum
}

/** Measures each fragment once, so that nested spreads take linear time. */
function measureFragment(context: ValidationContext, fragments: Map<string, Size>, name: string): Size {
  const known = fragments.get(name)
  if (known) return known
  // Ends the recursion for a fragment that spreads itself, which another rule refuses.
  fragments.set(name, EMPTY)
  const fragment = context.getFragment(name)
  const size = fragment ? measure(context, fragments, fragment.selectionSet) : EMPTY
  fragments.set(name, size)
  return size
}
