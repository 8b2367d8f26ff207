import { GraphQLScalarType } from 'graphql'
import { GraphQLDateTime } from 'graphql-scalars'

/**
 * RFC 3339 date-times as strings. The library's scalar returns Dates, which double the time to serialize a
 * response.
 */
export const DateTime = new GraphQLScalarType<Date, string>({
  ...GraphQLDateTime.toConfig(),
  specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc3339',
  serialize: (value) => GraphQLDateTime.serialize(value).toISOString(),
})
