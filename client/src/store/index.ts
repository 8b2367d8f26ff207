export { toUrlStorage, toWebStorage, type UpscaleStorage, type WebStorage } from './storage.ts'
export type { Upscale, UpscaledImage, UpscaleOptions, UpscaleSnapshot, UpscaleTask } from './types.ts'
export { createUpscale } from './upscale.ts'
