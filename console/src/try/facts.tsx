import type { ComponentChildren } from 'preact'
import { CodeChip } from '../ui/code-chip.tsx'
import { toBytes } from '../ui/format.ts'
import type { UpscaledPicture } from './operations.ts'

/**
 * What was measured from the bytes of a picture. Rows are there from the start, so nothing moves when they
 * are filled.
 */
export function Facts({ picture }: { picture: UpscaledPicture | null }) {
  const { width, height, byteSize, contentType, enlargement, provenance, sha256 } = picture ?? EMPTY
  const size = width !== null && height !== null ? `${width} × ${height}` : null
  const type = contentType?.replace('image/', '').toUpperCase()
  const file = [byteSize !== null ? toBytes(byteSize) : null, type].filter(Boolean).join(' · ')
  return (
    <dl class="facts">
      <Fact name="Size">{size}</Fact>
      <Fact name="Enlargement">{enlargement !== null && `× ${Number(enlargement.toFixed(2))}`}</Fact>
      <Fact name="File">{file}</Fact>
      <Fact name="Link">{picture && toValidity(picture)}</Fact>
      <Fact name="Credentials">{provenance && (provenance === 'PRESENT' ? 'C2PA' : 'None')}</Fact>
      <Fact name="SHA-256">
        {sha256 !== null && <CodeChip value={sha256} label="SHA-256" shown={sha256.slice(0, 8)} />}
      </Fact>
    </dl>
  )
}

const EMPTY = {
  width: null,
  height: null,
  byteSize: null,
  contentType: null,
  enlargement: null,
  provenance: null,
  sha256: null,
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  const isKnown = Boolean(children)
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>{isKnown ? children : <span class="soft">–</span>}</dd>
    </div>
  )
}

function toValidity({ copyState, expiresAt }: UpscaledPicture): string {
  if (copyState === 'KEPT') return 'Never expires'
  if (copyState === 'PENDING') return 'Being copied'
  if (expiresAt === null) return 'Expires'
  const hours = Math.round((Date.parse(expiresAt) - Date.now()) / 3_600_000)
  return hours > 0 ? `Expires in ${hours} h` : 'Expired'
}
