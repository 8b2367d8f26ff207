import type { FastifyInstance } from 'fastify'
import type { Generation } from './dialect.ts'
import type { Pictures } from './pictures.ts'

interface PictureRoute {
  Params: { index: string }
  Querystring: { source?: string; waterMark?: string }
}

export function addPictures(app: FastifyInstance, pictures: Pictures): void {
  app.get<PictureRoute>('/pictures/:index(^[0-3]).png', async ({ params, query }, reply) =>
    reply.type('image/png').send(await pictures.source(query.source ?? '', Number(params.index))),
  )
  app.get<PictureRoute>('/pictures/grid.png', async ({ query }, reply) =>
    reply.type('image/png').send(await pictures.grid(query.source ?? '')),
  )
  app.get<PictureRoute>('/upscaled/:index(^[0-3]).png', async ({ params, query }, reply) => {
    const picture = pictures.upscaled(query.source ?? '', Number(params.index), query.waterMark ?? null)
    return reply.type('image/png').send(await picture)
  })
}

/** The URLs of the pictures of a source task, under this base. */
export function toGeneration(sourceTaskId: string, base: string): Generation {
  const query = new URLSearchParams({ source: sourceTaskId }).toString()
  return {
    pictures: [0, 1, 2, 3].map((index) => `${base}/pictures/${index}.png?${query}`),
    grid: `${base}/pictures/grid.png?${query}`,
  }
}
