import { GraphQLScalarType } from 'graphql'
import { GraphQLURL } from 'graphql-scalars'

/** Absolute URLs. The library's scalar has no `specifiedByURL`. */
export const Url = new GraphQLScalarType({
  ...GraphQLURL.toConfig(),
  specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc3986',
})
