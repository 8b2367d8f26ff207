export { SANDBOX_SCRIPTS, type SandboxScript } from './scripts.ts'
