/**
 * Reports a task failure exactly once: as data if the same selection set selects `problem` of the same
 * object, otherwise as a typed error on the field that the failure leaves null.
 */
import {
  getNamedType,
  isObjectType,
  type FieldNode,
  type GraphQLObjectType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
} from 'graphql'
import { collectFields, collectSubfields } from 'graphql/execution/collectFields.js'
import type { Problem } from '../tasks/failure.ts'
import { toProblemError } from './errors.ts'

type Selection = ReadonlyMap<string, readonly FieldNode[]>

/**
 * For a field that a failure leaves null. Throws the failure unless `problem` or another alias of the field
 * reports it.
 */
export function reportOnField(problem: Problem | null, info: GraphQLResolveInfo): null {
  if (problem === null) return null
  if (!selects(collectSiblings(info), 'problem')) throwOnce(toProblemError(problem), info)
  return null
}

/** Throws for the first alias of the field only. */
export function throwOnce(error: Error, info: GraphQLResolveInfo): null {
  const [reporter] = [...collectSiblings(info)].find(([, nodes]) => isNamed(nodes, info.fieldName)) ?? []
  if (reporter === info.path.key) throw error
  return null
}

/** For a field that returns a payload. Throws the failure if neither `task` nor `problem` is selected. */
export function reportOnPayload(problem: Problem, info: GraphQLResolveInfo): void {
  if (!selectsField(info, 'task') && !selectsField(info, 'problem')) throw toProblemError(problem)
}

/** Whether the operation selects this field of the value, under this alias of the value. */
export function selectsField(info: GraphQLResolveInfo, field: string): boolean {
  return selects(collectSelection(info, info.fieldNodes), field)
}

/** Whether the operation selects this field of the value, under any alias of the value. */
export function selectsUnderAnyAlias(info: GraphQLResolveInfo, field: string): boolean {
  return [...collectSiblings(info).values()]
    .filter((nodes) => isNamed(nodes, info.fieldName))
    .some((nodes) => selects(collectSelection(info, nodes), field))
}

/** The selection set of the value of a field. */
function collectSelection(info: GraphQLResolveInfo, nodes: readonly FieldNode[]): Selection {
  const type = getNamedType(info.returnType)
  if (!isObjectType(type)) return new Map()
  return collectSubfields(info.schema, info.fragments, info.variableValues, type, [...nodes])
}

/** The selection set that contains the field, with fragments, @skip and @include applied. */
function collectSiblings(info: GraphQLResolveInfo): Selection {
  const { schema, fragments, variableValues, operation } = info
  const root = schema.getRootType(operation.operation)
  let parent: GraphQLObjectType | null | undefined = root
  let selection: Selection = root
    ? collectFields(schema, fragments, variableValues, root, operation.selectionSet)
    : new Map()
  for (const { key, typename } of toPath(info)) {
    const nodes = selection.get(key) ?? []
    parent = findType(schema, parent, nodes[0], typename)
    if (parent == null) break
    selection = collectSubfields(schema, fragments, variableValues, parent, [...nodes])
  }
  return selection
}

/**
 * The type of a field's value. Paths name it for abstract types; paths of compiled operations (graphql-jit)
 * do not.
 */
function findType(
  schema: GraphQLSchema,
  parent: GraphQLObjectType | null | undefined,
  node: FieldNode | undefined,
  typename: string | undefined,
): GraphQLObjectType | undefined {
  const field = node && parent?.getFields()[node.name.value]
  const type = typename === undefined ? field && getNamedType(field.type) : schema.getType(typename)
  return isObjectType(type) ? type : undefined
}

/**
 * The response keys from the root to the parent of this field, without list indexes, each with the type of
 * its value.
 */
function toPath(info: GraphQLResolveInfo): { key: string; typename: string | undefined }[] {
  const steps = []
  let { typename } = info.path
  for (let at = info.path.prev; at; at = at.prev) {
    if (typeof at.key !== 'string') continue
    steps.unshift({ key: at.key, typename })
    typename = at.typename
  }
  return steps
}

function selects(selection: Selection, field: string): boolean {
  return [...selection.values()].some((nodes) => isNamed(nodes, field))
}

function isNamed(nodes: readonly FieldNode[], field: string): boolean {
  return nodes[0]?.name.value === field
}
