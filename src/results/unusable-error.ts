/** A picture cannot be used. picture-source.ts turns it into an `Unusable` value. */
export class UnusableError extends Error {
  override name = 'UnusableError'
  readonly permanent: boolean

  constructor(reason: string, permanent: boolean) {
    super(reason)
    this.permanent = permanent
  }
}
