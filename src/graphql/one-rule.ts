/**
 * The one rule: a task failure is reported exactly once. As data, where the same selection set also selects
 * `problem` of the same object; otherwise as a typed error on the field that the failure leaves null.
 */
import { getNamedType, isObjectType, type FieldNode, type GraphQLResolveInfo } from 'graphql'
import { collectFields, collectSubfields } from 'graphql/execution/collectFields.js'
import type { Problem } from '../tasks/failure.ts'
import { toProblemError } from './errors.ts'

type Selection = ReadonlyMap<string, readonly FieldNode[]>

/** For the field that a failure leaves null: throws where it is this field's turn to report it. */
export function reportOnField(problem: Problem | null, info: GraphQLResolveInfo): null {
  if (problem === null) return null
  const siblings = collectSiblings(info)
  // Of two aliases of the field the first reports.
  const [reporter] = [...siblings].find(([, nodes]) => isNamed(nodes, info.fieldName)) ?? []
  if (!selects(siblings, 'problem') && reporter === info.path.key) throw toProblemError(problem)
  return null
}

/** For the field that returns a payload: throws where its selection has no room for the failure at all. */
export function reportOnPayload(problem: Problem, info: GraphQLResolveInfo): void {
  const type = getNamedType(info.returnType)
  if (!isObjectType(type)) return
  const selection = collectSubfields(info.schema, info.fragments, info.variableValues, type, info.fieldNodes)
  if (!selects(selection, 'task') && !selects(selection, 'problem')) throw toProblemError(problem)
}

/** The selection set that a field stands in, with fragments, @skip and @include counted as graphql-js does. */
function collectSiblings(info: GraphQLResolveInfo): Selection {
  const { schema, fragments, variableValues, operation } = info
  const path = toPath(info)
  const root = schema.getRootType(operation.operation)
  let selection: Selection = root
    ? collectFields(schema, fragments, variableValues, root, operation.selectionSet)
    : new Map()
  for (const [index, step] of path.entries()) {
    const type = schema.getType(path[index + 1]?.typename ?? '')
    if (!isObjectType(type)) break
    const nodes = selection.get(step.key) ?? []
    selection = collectSubfields(schema, fragments, variableValues, type, [...nodes])
  }
  return selection
}

/** The response keys from the root down to this field, without list positions, each with its parent type. */
function toPath(info: GraphQLResolveInfo): { key: string; typename: string }[] {
  const steps = []
  for (let at: GraphQLResolveInfo['path'] | undefined = info.path; at; at = at.prev)
    if (typeof at.key === 'string' && at.typename !== undefined)
      steps.unshift({ key: at.key, typename: at.typename })
  return steps
}

function selects(selection: Selection, field: string): boolean {
  return [...selection.values()].some((nodes) => isNamed(nodes, field))
}

function isNamed(nodes: readonly FieldNode[], field: string): boolean {
  return nodes[0]?.name.value === field
}
