export type { FailOptions } from './fail-options.ts'
export {
  createScriptedGateway,
  type ScriptedGateway,
  type ScriptedGatewayOptions,
  type ScriptedRequest,
} from './gateway.ts'
export { SANDBOX_SCRIPTS, type SandboxScript } from './scripts.ts'
