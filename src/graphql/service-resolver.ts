import { Arg, Ctx, Directive, FieldResolver, Int, Query, Resolver, Root } from 'type-graphql'
import type { Engine } from '../tasks/engines/engine-ports.ts'
import { requireOwner, type OperationContext } from './context.ts'
import { badUserInput, requestError } from './errors.ts'
import {
  UpscaleEngineType,
  UpscaleServiceType,
  UpscaleUsageType,
  type UpscaleRateType,
} from './service-types.ts'

const MAX_DAYS = 366
const DEFAULT_DAYS = 7

/** The gateway itself: its engines, their rates and credits, and the costs of tasks. */
@Resolver(() => UpscaleServiceType)
export class UpscaleServiceResolver {
  @Query(() => UpscaleServiceType, {
    nullable: true,
    description: 'The mode, engines, rate limits and credits of this gateway.',
  })
  upscaleService(@Ctx() { mode }: OperationContext): Pick<UpscaleServiceType, 'mode'> {
    return { mode }
  }

  @FieldResolver()
  credits(@Ctx() context: OperationContext): Promise<number | null> {
    return readCredits(context, toFirst(context).name)
  }

  @FieldResolver()
  rate(@Ctx() context: OperationContext): Promise<UpscaleRateType | null> {
    return readRate(context, toFirst(context).name)
  }

  @Directive('@listSize(assumedSize: 4)')
  @FieldResolver(() => [UpscaleEngineType], {
    description: 'The engines, in the order of preference: the first is the default.',
  })
  engines(@Ctx() { tasks }: OperationContext): Pick<UpscaleEngineType, 'name' | 'mode' | 'available'>[] {
    const { all, isAvailable } = tasks.engines
    return all.map(({ name, mode }) => ({ name, mode, available: isAvailable(name) }))
  }

  @Directive('@listSize(assumedSize: 100)')
  @FieldResolver(() => [UpscaleUsageType], {
    nullable: true,
    description:
      'The credits that tasks have cost in the last days, as engines report them, newest day first. Callers see the costs of their own tasks; operators see those of all owners. At most 10,000 entries.',
  })
  usage(
    @Arg('days', () => Int, {
      defaultValue: DEFAULT_DAYS,
      description: `The number of days, including today: 1–${MAX_DAYS}.`,
    })
    days: number,
    @Ctx() context: OperationContext,
  ): Promise<UpscaleUsageType[]> {
    const owner = requireOwner(context)
    if (days < 1 || days > MAX_DAYS) throw badUserInput('days', `days must be 1 to ${MAX_DAYS}.`)
    return context.tasks.usage(days, context.operator ? null : owner)
  }
}

@Resolver(() => UpscaleEngineType)
export class UpscaleEngineResolver {
  @FieldResolver()
  credits(@Root() { name }: UpscaleEngineType, @Ctx() context: OperationContext): Promise<number | null> {
    return readCredits(context, name)
  }

  @FieldResolver()
  rate(
    @Root() { name }: UpscaleEngineType,
    @Ctx() context: OperationContext,
  ): Promise<UpscaleRateType | null> {
    return readRate(context, name)
  }
}

function toFirst({ tasks }: OperationContext): Engine {
  const [first] = tasks.engines.all
  if (first === undefined) throw new Error('There is no engine')
  return first
}

function readCredits({ tasks, operator }: OperationContext, engine: string): Promise<number | null> {
  if (!operator)
    throw requestError('FORBIDDEN', 'Only operators may read the credits (scope upscale:operate).')
  return tasks.credits(engine)
}

async function readRate({ tasks }: OperationContext, engine: string): Promise<UpscaleRateType | null> {
  const rate = await tasks.rate(engine)
  return rate && { ...rate, resetAt: rate.resetAt === null ? null : new Date(rate.resetAt) }
}
