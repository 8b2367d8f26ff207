/** A picture cannot be used. The message and `permanent` become the port's `Unusable`. */
export class UnusableError extends Error {
  override name = 'UnusableError'
  readonly permanent: boolean

  constructor(reason: string, permanent: boolean) {
    super(reason)
    this.permanent = permanent
  }
}
