import type { FileHandle } from 'node:fs/promises'
import type { Provenance } from '../tasks/task.ts'
import type { RasterType } from './media-types.ts'

/**
 * How many parts of a file are visited; the rest is not searched. A picture of 64 MiB in PNG chunks of 8 KiB
 * has 8,192.
 */
const MAX_PARTS = 32_768
/** The start of a JPEG segment or a PNG chunk, long enough to read a JUMBF label. */
const PART_BYTES = 64
/** Bytes per read: several small parts; many PNGs have chunks of 8 KiB. */
const WINDOW_BYTES = 65_536

interface ContainerFacts {
  /** Null: not known for this type. */
  readonly provenance: Provenance | null
  /** False: the end of the file is missing. Only known for PNG and GIF. */
  readonly isComplete: boolean
}

/** Where the next part of a file starts; null: there is none. */
type Step = { readonly isManifest: boolean; readonly isLast: boolean; readonly next: number } | null

/** The first offset, and how to read the part that begins with these bytes. */
interface Container {
  readonly start: number
  toStep(bytes: Buffer, at: number): Step
}

const CONTAINERS: Partial<Record<RasterType, Container>> = {
  'image/png': { start: 8, toStep: toPngStep },
  'image/jpeg': { start: 2, toStep: toJpegStep },
  'image/webp': { start: 12, toStep: toWebpStep },
}

/**
 * Searches a picture for a C2PA manifest store (C2PA 2.1, appendix A.3) by walking the parts of its
 * container. Reads the start of each part only.
 */
export async function readContainer(file: FileHandle, type: RasterType): Promise<ContainerFacts> {
  const { size } = await file.stat()
  if (type === 'image/gif') return { provenance: null, isComplete: await hasGifTrailer(file, size) }
  const container = CONTAINERS[type]
  if (container === undefined) return { provenance: null, isComplete: true }
  const readPart = createPartReader(file)
  let provenance: Provenance = 'NONE'
  let at = container.start
  for (let parts = 0; parts < MAX_PARTS; parts += 1) {
    const step = container.toStep(await readPart(at), at)
    if (step === null) return { provenance, isComplete: type !== 'image/png' }
    if (step.isManifest) provenance = 'PRESENT'
    if (step.isLast) return { provenance, isComplete: step.next <= size }
    at = step.next
  }
  return { provenance, isComplete: true }
}

const GIF_TRAILER = 0x3b
const GIF_END_BYTES = 256

/**
 * Whether a GIF ends with its trailer, which zeros may follow. Of a GIF that is cut off only the first frame
 * is decoded.
 */
async function hasGifTrailer(file: FileHandle, size: number): Promise<boolean> {
  const start = Math.max(0, size - GIF_END_BYTES)
  const { buffer, bytesRead } = await file.read(Buffer.alloc(GIF_END_BYTES), 0, GIF_END_BYTES, start)
  return buffer.subarray(0, bytesRead).findLast((byte) => byte !== 0) === GIF_TRAILER
}

/** Returns a function that reads the start of the part at an offset; less at the end of the file. */
function createPartReader(file: FileHandle): (at: number) => Promise<Buffer> {
  const window = Buffer.alloc(WINDOW_BYTES)
  let start = 0
  let length = 0
  return async (at) => {
    if (at < start || at + PART_BYTES > start + length) {
      start = at
      length = (await file.read(window, 0, WINDOW_BYTES, at)).bytesRead
    }
    return window.subarray(at - start, Math.min(at - start + PART_BYTES, length))
  }
}

/** A PNG chunk: length, type, data, checksum. */
function toPngStep(bytes: Buffer, at: number): Step {
  if (bytes.length < 8) return null
  const type = bytes.toString('latin1', 4, 8)
  return { isManifest: type === 'caBX', isLast: type === 'IEND', next: at + 12 + bytes.readUInt32BE(0) }
}

/** A RIFF chunk: type, length, data, padded to an even length. */
function toWebpStep(bytes: Buffer, at: number): Step {
  if (bytes.length < 8) return null
  const length = bytes.readUInt32LE(4)
  const next = at + 8 + length + (length % 2)
  return { isManifest: bytes.toString('latin1', 0, 4) === 'C2PA', isLast: false, next }
}

const JPEG_APP11 = 0xeb
const JPEG_SCAN = 0xda
const JPEG_END = 0xd9

/** A JPEG segment: 0xFF, marker, length with itself, data. The manifest store is before the first scan. */
function toJpegStep(bytes: Buffer, at: number): Step {
  const [prefix, marker = 0] = bytes
  if (bytes.length < 4 || prefix !== 0xff || marker === JPEG_SCAN || marker === JPEG_END) return null
  // A marker may be preceded by any number of 0xFF.
  if (marker === 0xff) return { isManifest: false, isLast: false, next: at + 1 }
  const next = at + 2 + bytes.readUInt16BE(2)
  return { isManifest: marker === JPEG_APP11 && isC2paBox(bytes.subarray(4)), isLast: false, next }
}

/**
 * Whether an APP11 segment begins a JUMBF superbox with the label `c2pa`: `JP`, instance (2), sequence (4),
 * the header of the superbox (8, or 16 with an extended length), and its description box: header (8), UUID
 * (16), toggles (1), label.
 */
function isC2paBox(data: Buffer): boolean {
  if (data.length < 16 || data.toString('latin1', 0, 2) !== 'JP') return false
  if (data.toString('latin1', 12, 16) !== 'jumb') return false
  const description = data.subarray(data.readUInt32BE(8) === 1 ? 24 : 16)
  return (
    description.toString('latin1', 4, 8) === 'jumd' && description.toString('latin1', 25, 30) === 'c2pa\0'
  )
}
