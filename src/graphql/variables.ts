import {
  coerceInputValue,
  isInputObjectType,
  isInputType,
  isListType,
  isNonNullType,
  isRequiredInputField,
  Kind,
  typeFromAST,
  type GraphQLError,
  type GraphQLSchema,
  type GraphQLType,
  type VariableDefinitionNode,
} from 'graphql'
import { badUserInput } from './errors.ts'

/** Names the field at fault in each error of `getVariableValues`. graphql-js names it in the message only. */
export function toVariableErrors(
  schema: GraphQLSchema,
  errors: readonly GraphQLError[],
  variables: Readonly<Record<string, unknown>>,
): GraphQLError[] {
  const faults = new Map<VariableDefinitionNode, Iterator<string, undefined>>()
  return errors.map(({ message, nodes }) => {
    const [node] = nodes ?? []
    // "Too many errors" refers to no variable.
    if (node?.kind !== Kind.VARIABLE_DEFINITION) return badUserInput('variables', message)
    const { value: name } = node.variable.name
    const type = typeFromAST(schema, node.type)
    const names = faults.get(node) ?? findFaults(name, variables[name], type)
    faults.set(node, names)
    return badUserInput(names.next().value ?? name, message, node)
  })
}

/**
 * The names of invalid fields, in the order in which graphql-js reports them. Lazy, because there may be
 * thousands.
 */
function* findFaults(
  name: string,
  value: unknown,
  type: GraphQLType | undefined,
): Generator<string, undefined> {
  const nullable = isNonNullType(type) ? type.ofType : type
  if (value == null) {
    if (isNonNullType(type)) yield name
  } else if (isListType(nullable)) {
    if (!Array.isArray(value)) yield* findFaults(name, value, nullable.ofType)
    else
      for (const [index, item] of value.entries())
        yield* findFaults(`${name}[${index}]`, item, nullable.ofType)
  } else if (isInputObjectType(nullable) && isRecord(value)) {
    const fields = nullable.getFields()
    for (const field of Object.values(fields)) {
      const given = value[field.name]
      if (given !== undefined) yield* findFaults(field.name, given, field.type)
      else if (isRequiredInputField(field)) yield field.name
    }
    for (const key of Object.keys(value)) if (!fields[key]) yield key
  } else if (isInputType(nullable)) {
    const faults: string[] = []
    coerceInputValue(value, nullable, () => faults.push(name))
    yield* faults
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
