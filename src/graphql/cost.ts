import {
  getDirectiveValues,
  getNamedType,
  getNullableType,
  isCompositeType,
  isIntrospectionType,
  isListType,
  isObjectType,
  Kind,
  valueFromASTUntyped,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql'
import * as z from 'zod'

export type Fragments = Readonly<Record<string, FragmentDefinitionNode>>
type Field = GraphQLField<unknown, unknown>
type Variables = Readonly<Record<string, unknown>>
/** Lengths of lists in a selection set that an argument of its parent field determines, by field name. */
type ListSizes = Readonly<Record<string, number>>

const MAY_CONTAIN_VARIABLES: readonly Kind[] = [Kind.VARIABLE, Kind.LIST, Kind.OBJECT]

/**
 * Measures operations by the weights and list sizes in the schema (`@cost`, `@listSize`: IBM's GraphQL cost
 * directives, as in federation). An object costs 1, a scalar 0, a list its length times its items. A page
 * costs at least its size. Introspection is free. `_entities` has as many items as representations.
 */
export class OperationCosts {
  readonly #schema: GraphQLSchema
  /** Costs that do not depend on variables. */
  readonly #constant = new WeakMap<OperationDefinitionNode, number>()
  readonly #fields = new WeakMap<Field, FieldCost>()

  constructor(schema: GraphQLSchema) {
    this.#schema = schema
  }

  measure(operation: OperationDefinitionNode, fragments: Fragments, variables: Variables): number {
    const known = this.#constant.get(operation)
    if (known !== undefined) return known
    const measurement = new Measurement(this.#schema, this.#fields, fragments, variables)
    const root = this.#schema.getRootType(operation.operation) ?? undefined
    const cost = measurement.ofSelections(operation.selectionSet, root, {})
    if (!measurement.dependsOnVariables) this.#constant.set(operation, cost)
    return cost
  }
}

interface FieldCost {
  /** The cost of one item, without its selections. */
  readonly weight: number
  readonly assumedSize?: number | undefined
  /** Arguments that state the length of the list. */
  readonly slicingArguments: readonly string[]
  /** Fields of the result whose length the slicing arguments state instead. */
  readonly sizedFields: readonly string[]
}

const fieldCost = z.object({
  weight: z.number(),
  assumedSize: z.number().optional(),
  slicingArguments: z.array(z.string()).default([]),
  sizedFields: z.array(z.string()).default([]),
})

function toFieldCost(schema: GraphQLSchema, { type, astNode }: Field): FieldCost {
  const [cost, listSize] = ['cost', 'listSize'].map((name) => {
    const directive = schema.getDirective(name)
    return directive && astNode ? getDirectiveValues(directive, astNode) : undefined
  })
  return fieldCost.parse({ weight: isCompositeType(getNamedType(type)) ? 1 : 0, ...cost, ...listSize })
}

class Measurement {
  dependsOnVariables = false
  readonly #schema: GraphQLSchema
  readonly #costs: WeakMap<Field, FieldCost>
  readonly #fragments: Fragments
  readonly #variables: Variables
  /** Each fragment is measured once for the same list sizes, so that nested spreads take linear time. */
  readonly #measured = new Map<string, number>()

  constructor(
    schema: GraphQLSchema,
    costs: WeakMap<Field, FieldCost>,
    fragments: Fragments,
    variables: Variables,
  ) {
    this.#schema = schema
    this.#costs = costs
    this.#fragments = fragments
    this.#variables = variables
  }

  ofSelections(set: SelectionSetNode, parent: GraphQLNamedType | undefined, sizes: ListSizes): number {
    let sum = 0
    for (const node of set.selections)
      if (node.kind === Kind.FIELD) sum += this.#ofField(node, parent, sizes)
      else if (node.kind === Kind.FRAGMENT_SPREAD) sum += this.#ofFragment(node.name.value, sizes)
      else {
        const type = node.typeCondition ? this.#schema.getType(node.typeCondition.name.value) : parent
        sum += this.ofSelections(node.selectionSet, type, sizes)
      }
    return sum
  }

  #ofFragment(name: string, sizes: ListSizes): number {
    const fragment = this.#fragments[name]
    if (!fragment) return 0
    const key = `${name} ${JSON.stringify(sizes)}`
    const type = this.#schema.getType(fragment.typeCondition.name.value)
    const cost = this.#measured.get(key) ?? this.ofSelections(fragment.selectionSet, type, sizes)
    this.#measured.set(key, cost)
    return cost
  }

  #ofField(node: FieldNode, parent: GraphQLNamedType | undefined, sizes: ListSizes): number {
    const field = isObjectType(parent) ? parent.getFields()[node.name.value] : undefined
    if (!field) return 0
    const type = getNamedType(field.type)
    if (isIntrospectionType(type)) return 0
    const cost = this.#toCost(field)
    const size = this.#toSize(node, field, cost)
    const innerSizes = Object.fromEntries(cost.sizedFields.map((name) => [name, size ?? 1]))
    const inner = node.selectionSet ? this.ofSelections(node.selectionSet, type, innerSizes) : 0
    const times = isListType(getNullableType(field.type)) ? (sizes[field.name] ?? size ?? 1) : 1
    // The lists are computed even if they are not selected.
    const made = Object.entries(innerSizes).map(([name, length]) => length * this.#toItemWeight(type, name))
    return times * (cost.weight + Math.max(inner, ...made))
  }

  #toCost(field: Field): FieldCost {
    const cost = this.#costs.get(field) ?? toFieldCost(this.#schema, field)
    this.#costs.set(field, cost)
    return cost
  }

  #toItemWeight(type: GraphQLNamedType, name: string): number {
    const field = isObjectType(type) ? type.getFields()[name] : undefined
    return field ? this.#toCost(field).weight : 1
  }

  /** The length of a list, if the field itself determines it. */
  #toSize(
    node: FieldNode,
    field: Field,
    { slicingArguments, sizedFields, assumedSize }: FieldCost,
  ): number | undefined {
    if (field.name === '_entities') {
      const representations = this.#toArgument(node, field, 'representations')
      return Array.isArray(representations) ? representations.length : undefined
    }
    const slices = slicingArguments
      .map((name) => this.#toArgument(node, field, name))
      .filter((slice) => typeof slice === 'number')
    if (slices.length > 0) return Math.max(0, ...slices)
    const inputs =
      sizedFields.length === 0 ? [] : field.args.map(({ name }) => this.#toArgument(node, field, name))
    // A mutation with a list in its input returns one item for each. Routers cannot measure that: they assume
    // the size.
    return toLongestList(inputs) ?? assumedSize
  }

  #toArgument(node: FieldNode, field: Field, name: string): unknown {
    const value = node.arguments?.find((argument) => argument.name.value === name)?.value
    if (value && MAY_CONTAIN_VARIABLES.includes(value.kind)) this.dependsOnVariables = true
    const given: unknown = value && valueFromASTUntyped(value, this.#variables)
    return given ?? field.args.find((argument) => argument.name === name)?.defaultValue
  }
}

/** The length of the longest list in these input objects; undefined: they have none. */
function toLongestList(inputs: readonly unknown[]): number | undefined {
  const lists = inputs
    .flatMap((input) =>
      typeof input === 'object' && input !== null ? Object.values<unknown>({ ...input }) : [],
    )
    .filter((value): value is unknown[] => Array.isArray(value))
  return lists.length === 0 ? undefined : Math.max(...lists.map(({ length }) => length))
}
