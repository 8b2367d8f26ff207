import { Field, Float, Int } from 'type-graphql'
import type { CopyState, Provenance } from '../tasks/task.ts'
import { DateTime } from './date-time.ts'
import { ImageCopyState, ImageProvenance } from './enums.ts'
import { PlainType } from './plain-type.ts'
import { Url } from './url.ts'

const MEASURED = 'Measured from the bytes; null if it could not be measured, or not yet.'

@PlainType('UpscaledImage', 'An upscaled picture.')
export class UpscaledImageType {
  @Field(() => Url, {
    description:
      "The URL of the picture: absolute http(s). If `copyState` is KEPT, it is the gateway's and is valid until the task is deleted; `?width=256`, `512`, `1024` or `2048` gives a smaller WebP, `?download` makes browsers save the file. Otherwise it is `originalUrl`.",
  })
  url!: string

  @Field(() => DateTime, {
    nullable: true,
    description:
      'When the upscale service is expected to delete the picture: an estimate. Null if `copyState` is KEPT: `url` does not expire.',
  })
  expiresAt!: Date | null

  @Field(() => Url, { description: "The upscale service's URL of the picture. It expires." })
  originalUrl!: string

  @Field(() => ImageCopyState, { description: "The state of the gateway's copy." })
  copyState!: CopyState

  @Field(() => Int, {
    nullable: true,
    description: `The width in pixels, as displayed (rotated by EXIF). ${MEASURED}`,
  })
  width!: number | null

  @Field(() => Int, {
    nullable: true,
    description: `The height in pixels, as displayed (rotated by EXIF). ${MEASURED}`,
  })
  height!: number | null

  @Field(() => Int, { nullable: true, description: `The size in bytes. ${MEASURED}` })
  byteSize!: number | null

  @Field(() => String, { nullable: true, description: `The media type, such as image/png. ${MEASURED}` })
  contentType!: string | null

  @Field(() => String, { nullable: true, description: `The SHA-256 in hexadecimal. ${MEASURED}` })
  sha256!: string | null

  @Field(() => String, {
    nullable: true,
    description: `A placeholder of about 25 bytes (ThumbHash), in Base64. ${MEASURED}`,
  })
  thumbhash!: string | null

  @Field(() => Float, {
    nullable: true,
    description:
      'The width divided by that of `sourceImage`: about 1 means that the picture was not enlarged. Null if one of the two widths is not known.',
  })
  enlargement!: number | null

  @Field(() => ImageProvenance, {
    nullable: true,
    description: `Whether the picture contains Content Credentials (C2PA). Null for AVIF, GIF and TIFF, which are not searched. ${MEASURED}`,
  })
  provenance!: Provenance | null
}
