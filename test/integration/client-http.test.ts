import { describe, expect, test } from '@jest/globals'
import { createHttpTransport, followTask, submit } from '../../client/src/index.ts'
import { openScene, RESULT } from '../support/scene.ts'

describe('the HTTP transport of the client', () => {
  test('submits a picture and follows it to its end, without WebSocket', async () => {
    await using scene = await openScene()
    const client = createHttpTransport({ url: `${scene.gateway.url}/graphql` })
    const { id, succeed } = await scene.submit()
    const states = followTask(client, { id, selection: 'images { url }' })
    expect((await states.next()).value).toEqual({ version: 2, status: 'PROCESSING', images: null })
    await succeed()
    expect((await states.next()).value).toEqual({
      version: 3,
      status: 'SUCCEEDED',
      images: [{ url: RESULT }],
    })
    expect((await states.next()).done).toBe(true)
    const submitted = await submit(client, { input: { taskId: 'other', imageIndex: 1 } })
    expect(submitted).toMatchObject({ task: { status: 'PROCESSING' }, replayed: false })
  })
})
