// The schema of the two schema-first contenders (mercurius.mjs, yoga.mjs); by-the-book.ts makes the same one
// from its decorators.

export const typeDefs = /* GraphQL */ `
  scalar DateTimeISO

  enum TaskStatus {
    SUBMITTED
    PROCESSING
    SUCCEEDED
  }

  type UpscaledImage {
    url: String!
  }

  type UpscaleTask {
    id: ID!
    status: TaskStatus!
    version: Int!
    images: [UpscaledImage!]
    createdAt: DateTimeISO!
  }

  input UpscaleImageInput {
    taskId: String!
    imageIndex: Int!
  }

  type UpscaleImagePayload {
    task: UpscaleTask!
  }

  type Query {
    upscaleTask(id: ID!): UpscaleTask
  }

  type Mutation {
    upscaleImage(input: UpscaleImageInput!): UpscaleImagePayload!
  }

  type Subscription {
    taskUpdated(id: ID!): UpscaleTask!
  }
`
