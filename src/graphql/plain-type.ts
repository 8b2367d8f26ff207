import { ObjectType } from 'type-graphql'

/** An object type whose fields have no middleware: their values are not changed. */
export function PlainType(name: string, description: string): ClassDecorator {
  return ObjectType(name, { simpleResolvers: true, description })
}
