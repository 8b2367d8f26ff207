export { toClientOptions, type ConnectionSettings, type SocketOptions } from './connection.ts'
export type { TypedDocument } from './document.ts'
export { FollowError, type GraphqlError, type Problem } from './errors.ts'
export type { EventSourceConstructor } from './event-stream.ts'
export type { AnyTask, FollowedTask } from './follow.ts'
export { followTask, type FollowRequest } from './follow-task.ts'
export {
  followTasks,
  type AnyTaskOfMany,
  type FollowedTaskOfMany,
  type FollowManyRequest,
} from './follow-tasks.ts'
export { createHttpTransport, type HttpTransportOptions } from './http-transport.ts'
export {
  submit,
  type Submitted,
  type SubmittedTask,
  type SubmitRequest,
  type UpscaleImageInput,
} from './submit.ts'
export type {
  ConnectionState,
  GraphqlRequest,
  GraphqlResult,
  Transport,
  Transport as FollowClient,
} from './transport.ts'
