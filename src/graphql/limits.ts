import {
  getNamedType,
  getNullableType,
  GraphQLError,
  isCompositeType,
  isIntrospectionType,
  isListType,
  isObjectType,
  Kind,
  OperationTypeNode,
  valueFromASTUntyped,
  type ASTVisitor,
  type DirectiveNode,
  type DocumentNode,
  type FieldNode,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionSetNode,
  type ValueNode,
  type ValidationContext,
  type ValidationRule,
} from 'graphql'

/** Limits of one document. Cost is checked with the variables, in `measureCost`. */
export const LIMITS = {
  tokens: 1_000,
  depth: 10,
  aliases: 30,
  /** Characters: an alias is repeated with each item of a list. */
  aliasLength: 100,
  rootFields: 20,
  mutationFields: 1,
  directives: 20,
  cost: 1_000,
  errors: 20,
  /** Each quotes the whole variable before it is cut: twenty of 60 KB take 20 ms. */
  variableErrors: 5,
} as const

/** What a selection set comes to, with everything that its fragments spread into it. */
interface Size {
  readonly depth: number
  readonly aliases: number
  readonly directives: number
  readonly fields: number
}

const NOTHING: Size = { depth: 0, aliases: 0, directives: 0, fields: 0 }

/**
 * Holds each operation to the limits on depth, aliases, root fields, mutation fields and directives, counted
 * through fragments as often as they are spread. Each fragment is measured once, so that nested
 * spreads are cheap to check. Introspection has limits of its own in graphql-js.
 */
export const limitsRule: ValidationRule = (context): ASTVisitor => {
  const measured = new Map<string, Size>()
  return {
    Field({ alias }) {
      if (alias !== undefined && alias.value.length > LIMITS.aliasLength)
        context.reportError(
          new GraphQLError(
            `An alias has ${alias.value.length} characters; the limit is ${LIMITS.aliasLength}.`,
            {
              nodes: alias,
            },
          ),
        )
    },
    OperationDefinition(operation) {
      const size = measure(context, measured, operation.selectionSet)
      const mutation = operation.operation === OperationTypeNode.MUTATION
      const fields = mutation ? LIMITS.mutationFields : LIMITS.rootFields
      const faults: [string, number, number][] = [
        ['levels deep', size.depth, LIMITS.depth],
        ['aliases', size.aliases, LIMITS.aliases],
        ['directives', size.directives + (operation.directives?.length ?? 0), LIMITS.directives],
        [mutation ? 'mutation fields' : 'root fields', size.fields, fields],
      ]
      for (const [what, count, limit] of faults)
        if (count > limit)
          context.reportError(
            new GraphQLError(`The operation has ${count} ${what}; the limit is ${limit}.`, {
              nodes: operation,
            }),
          )
    },
  }
}

function measure(context: ValidationContext, measured: Map<string, Size>, set: SelectionSetNode): Size {
  return set.selections.reduce<Size>((sum, selection) => {
    const directives = selection.directives?.length ?? 0
    switch (selection.kind) {
      case Kind.FIELD: {
        const introspection = selection.name.value.startsWith('__')
        const inner =
          selection.selectionSet && !introspection
            ? measure(context, measured, selection.selectionSet)
            : NOTHING
        return add(sum, {
          depth: inner.depth + 1,
          aliases: inner.aliases + (selection.alias ? 1 : 0),
          directives: inner.directives + directives,
          fields: introspection ? 0 : 1,
        })
      }
      case Kind.INLINE_FRAGMENT: {
        const inner = measure(context, measured, selection.selectionSet)
        return add(sum, { ...inner, directives: inner.directives + directives })
      }
      case Kind.FRAGMENT_SPREAD: {
        const inner = measureFragment(context, measured, selection.name.value)
        return add(sum, { ...inner, directives: inner.directives + directives })
      }
      default:
        return selection satisfies never
    }
  }, NOTHING)
}

function measureFragment(context: ValidationContext, measured: Map<string, Size>, name: string): Size {
  const known = measured.get(name)
  if (known) return known
  // A fragment that spreads itself is refused by another rule; here it ends.
  measured.set(name, NOTHING)
  const fragment = context.getFragment(name)
  const size = fragment ? measure(context, measured, fragment.selectionSet) : NOTHING
  measured.set(name, size)
  return size
}

function add(sum: Size, more: Size): Size {
  return {
    depth: Math.max(sum.depth, more.depth),
    aliases: sum.aliases + more.aliases,
    directives: sum.directives + more.directives,
    fields: sum.fields + more.fields,
  }
}

/**
 * What an operation costs, by the weights and list sizes in the schema (`@cost`, `@listSize`; IBM's GraphQL
 * Cost Directives as federation has them): an object 1, a scalar 0, a list as many times as it is long.
 * A page costs at least its size. Introspection is free. `_entities` is as long as its representations are.
 */
export function measureCost(
  schema: GraphQLSchema,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  variables: Readonly<Record<string, unknown>>,
): number {
  const known = costs.get(operation)
  if (known !== undefined) return known
  const varying: ValueNode[] = []
  const fragments = new Map(
    document.definitions.flatMap((node) =>
      node.kind === Kind.FRAGMENT_DEFINITION ? [[node.name.value, node] as const] : [],
    ),
  )
  const measuredFragments = new Map<string, number>()

  const costOf = (set: SelectionSetNode, parent: GraphQLNamedType | undefined, sized: Sized): number =>
    set.selections.reduce((sum, selection) => {
      switch (selection.kind) {
        case Kind.FIELD:
          return sum + costOfField(selection, parent, sized)
        case Kind.INLINE_FRAGMENT: {
          const condition = selection.typeCondition
          return (
            sum +
            costOf(selection.selectionSet, condition ? schema.getType(condition.name.value) : parent, sized)
          )
        }
        case Kind.FRAGMENT_SPREAD: {
          const name = selection.name.value
          const fragment = fragments.get(name)
          if (!fragment) return sum
          const key = `${name} ${JSON.stringify(sized)}`
          const type = schema.getType(fragment.typeCondition.name.value)
          const cost = measuredFragments.get(key) ?? costOf(fragment.selectionSet, type, sized)
          measuredFragments.set(key, cost)
          return sum + cost
        }
        default:
          return selection satisfies never
      }
    }, 0)

  const costOfField = (node: FieldNode, parent: GraphQLNamedType | undefined, sized: Sized): number => {
    const field = isObjectType(parent) ? parent.getFields()[node.name.value] : undefined
    if (!field) return 0
    const type = getNamedType(field.type)
    if (isIntrospectionType(type)) return 0
    const { times, passedOn } = toListSize(node, field, variables, sized, varying)
    const own = readNumber(field.astNode?.directives, 'cost', 'weight') ?? (isCompositeType(type) ? 1 : 0)
    const inner = node.selectionSet ? costOf(node.selectionSet, type, passedOn) : 0
    // A page is read from the store even if its edges are not selected.
    return times * (own + Math.max(inner, ...Object.values(passedOn)))
  }

  const root = schema.getRootType(operation.operation) ?? undefined
  const cost = costOf(operation.selectionSet, root, {})
  if (varying.length === 0) costs.set(operation, cost)
  return cost
}

/** Of operations whose cost does not depend on variables, for as long as their documents are kept. */
const costs = new WeakMap<OperationDefinitionNode, number>()

const MAY_HOLD_VARIABLES: readonly Kind[] = [Kind.VARIABLE, Kind.LIST, Kind.OBJECT]

/** Lists one level further down whose length an argument up here decides. */
type Sized = Readonly<Record<string, number>>

function toListSize(
  node: FieldNode,
  field: GraphQLField<unknown, unknown>,
  variables: Readonly<Record<string, unknown>>,
  sized: Sized,
  varying: ValueNode[],
): { times: number; passedOn: Sized } {
  const directive = field.astNode?.directives?.find(({ name }) => name.value === 'listSize')
  const list = isListType(getNullableType(field.type))
  const value = (name: string) => {
    const given = node.arguments?.find((argument) => argument.name.value === name)?.value
    if (given && MAY_HOLD_VARIABLES.includes(given.kind)) varying.push(given)
    const read: unknown = given && valueFromASTUntyped(given, variables)
    return read ?? field.args.find((argument) => argument.name === name)?.defaultValue
  }
  const sizes = readNames(directive, 'slicingArguments')
    .map(value)
    .filter((size) => typeof size === 'number')
  const size = sizes.length > 0 ? Math.max(0, ...sizes) : readNumber([directive], 'listSize', 'assumedSize')
  const representations = field.name === '_entities' ? value('representations') : undefined
  if (Array.isArray(representations)) return { times: representations.length, passedOn: {} }
  const passedOn = Object.fromEntries(readNames(directive, 'sizedFields').map((name) => [name, size ?? 1]))
  return { times: list ? (sized[field.name] ?? size ?? 1) : 1, passedOn }
}

function readNumber(
  directives: readonly (DirectiveNode | undefined)[] | undefined,
  directive: string,
  argument: string,
): number | undefined {
  const node = directives?.find((each) => each?.name.value === directive)
  const value = node?.arguments?.find(({ name }) => name.value === argument)?.value
  const read: unknown = value && valueFromASTUntyped(value)
  return typeof read === 'number' ? read : undefined
}

function readNames(directive: DirectiveNode | undefined, argument: string): string[] {
  const value = directive?.arguments?.find(({ name }) => name.value === argument)?.value
  const read: unknown = value && valueFromASTUntyped(value)
  return Array.isArray(read) ? read.filter((name) => typeof name === 'string') : []
}
