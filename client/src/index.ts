export { toClientOptions, type ConnectionSettings } from './connection.ts'
export { FollowError } from './errors.ts'
export { followTask, type FollowedTask, type FollowRequest } from './follow-task.ts'
