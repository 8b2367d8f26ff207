/** The GraphQL object types of submits and of lists of tasks. to-shape.ts creates their values. */
import { Directive, Field } from 'type-graphql'
import { PlainType } from './plain-type.ts'
import { UpscaleProblemType, UpscaleTaskType } from './types.ts'

@PlainType('UpscaleImagePayload', 'The outcome of a submit.')
export class UpscaleImagePayloadType {
  /** Not in the schema: the error of a submit without an outcome, one of several. */
  error?: Error

  @Field(() => UpscaleTaskType, {
    nullable: true,
    description:
      'The task; null if it was refused. Then this field has the typed error, unless `problem` is selected beside it.',
  })
  task!: UpscaleTaskType | null

  @Directive('@cost(weight: 0)')
  @Field(() => UpscaleProblemType, {
    nullable: true,
    description: 'Why it was refused; null if it was not.',
  })
  problem!: UpscaleProblemType | null

  @Field(() => Boolean, {
    description: 'True if nothing was sent, because a task for the request already existed.',
  })
  replayed!: boolean
}

@PlainType('UpscaleImagesPayload', 'The outcomes of several submits.')
export class UpscaleImagesPayloadType {
  /** The `results` field. */
  payloads!: readonly UpscaleImagePayloadType[]
}

@Directive('@shareable')
@PlainType('PageInfo', 'The position of a page in a connection (Relay).')
class PageInfoType {
  @Field(() => Boolean, { description: 'Whether there are more items after this page.' })
  hasNextPage!: boolean

  @Field(() => Boolean, { description: 'Whether this page starts after a cursor.' })
  hasPreviousPage!: boolean

  @Field(() => String, { nullable: true, description: 'The cursor of the first edge.' })
  startCursor!: string | null

  @Field(() => String, { nullable: true, description: 'The cursor of the last edge: pass it as `after`.' })
  endCursor!: string | null
}

@PlainType('UpscaleTaskEdge', 'A task in a connection.')
class UpscaleTaskEdgeType {
  @Field(() => UpscaleTaskType, { description: 'The task.' })
  node!: UpscaleTaskType

  @Field(() => String, { description: 'The position of this task in the list; opaque.' })
  cursor!: string
}

@PlainType('UpscaleTaskConnection', 'A page of tasks, newest first (Relay).')
export class UpscaleTaskConnectionType {
  @Field(() => [UpscaleTaskEdgeType], { description: 'The tasks of this page, with their cursors.' })
  edges!: UpscaleTaskEdgeType[]

  @Directive('@cost(weight: 0)')
  @Field(() => PageInfoType, { description: 'The position of this page.' })
  pageInfo!: PageInfoType
}
