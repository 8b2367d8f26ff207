import {
  DeleteUpscaleTaskDocument,
  FollowPicturesDocument,
  UpscaleImageDocument,
  type PictureFragment,
} from '../generated/operations.ts'
import { collect, startGateway } from './gateway.ts'
import { openTempDir } from './temp-dir.ts'
import type { Overrides } from '../../src/service.ts'

export type Keeper = Awaited<ReturnType<typeof startKeeper>>

/** A gateway that inspects results and keeps copies in a new folder. */
export async function startKeeper(settings: Record<string, string> = {}, overrides: Overrides = {}) {
  await using opened = new AsyncDisposableStack()
  const dir = opened.use(await openTempDir())
  const folder = `${dir.path}/results`
  const kept = { RESULT_STORE: `file:${folder}`, RESULT_INSPECT_MS: '60000' }
  const gateway = opened.use(await startGateway({ ...kept, ...settings }, overrides))
  const follow = async (id: string): Promise<PictureFragment> => {
    const states = await collect(gateway.follow(FollowPicturesDocument, { id }))
    const picture = states.at(-1)?.data?.taskUpdated?.images?.[0]
    if (picture === undefined) throw new Error(`Task ${id} has no picture`)
    return picture
  }
  const rest = opened.move()
  return {
    gateway,
    folder,
    /** Follows a task to its end. Resolves to its picture. */
    follow,
    /** Submits an upscale, and follows it to its end. */
    async upscale(taskId = 'source') {
      const input = { taskId, imageIndex: 0, force: true }
      const { data } = await gateway.run('HTTP', UpscaleImageDocument, { input })
      const id = data?.upscaleImage?.task?.id ?? 'no task'
      return { id, picture: await follow(id) }
    },
    remove: (id: string) => gateway.run('HTTP', DeleteUpscaleTaskDocument, { id }),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  }
}
