import { ObjectType } from 'type-graphql'

/** An object type whose fields have no middleware: they are read as they are. */
export function PlainType(name: string, description: string): ClassDecorator {
  return ObjectType(name, { simpleResolvers: true, description })
}
