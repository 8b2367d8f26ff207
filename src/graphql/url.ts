import { GraphQLScalarType } from 'graphql'
import { GraphQLURL } from 'graphql-scalars'

/** Absolute URLs. The library's own scalar names no specification. */
export const Url = new GraphQLScalarType({
  ...GraphQLURL.toConfig(),
  specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc3986',
})
