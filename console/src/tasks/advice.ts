/** What a user does about a failure: the catalogue says what it means. */

interface Advice {
  readonly text: string
  /** Who acts. */
  readonly by: 'you' | 'operator' | 'nobody'
}

const you = (text: string): Advice => ({ text, by: 'you' })
const operator = (text: string): Advice => ({ text, by: 'operator' })
const nobody = (text: string): Advice => ({ text, by: 'nobody' })

const ADVICE: Readonly<Record<string, Advice>> = {
  UPSTREAM_BAD_REQUEST: you('Check the source task id, the index and the watermark, then submit again.'),
  UPSTREAM_UNAUTHORIZED: operator('Ask the operator to renew the API key of the gateway.'),
  INSUFFICIENT_CREDITS: operator('Ask the operator to top up the account, then submit again.'),
  UPSTREAM_NOT_FOUND: you(
    'Check the source task id. Generations expire: generate the picture again if it is old.',
  ),
  UPSTREAM_VALIDATION_FAILED: you('Choose another picture or watermark: this one is refused each time.'),
  UPSTREAM_RATE_LIMITED: you('Submit again later, or with queue: true, so that the task waits for its turn.'),
  UPSTREAM_MAINTENANCE: you(
    'Submit again later, or with queue: true, so that the task waits for the end of the maintenance.',
  ),
  UPSTREAM_SERVER_ERROR: you('Submit again. If it repeats, give the correlation id to the operator.'),
  GENERATION_FAILED: you('Submit again as a new task. If it repeats, choose another picture.'),
  FEATURE_DISABLED: operator('Ask the operator to enable upscaling, or choose another engine.'),
  UPSTREAM_TIMEOUT: you('Submit again as a new task.'),
  KEY_QUOTA_EXCEEDED: operator('Ask the operator to raise the quota of the API key, then submit again.'),
  UPSTREAM_PROTOCOL_ERROR: operator(
    'Give the correlation id to the operator: the log has the answer of the upscale service.',
  ),
  UPSTREAM_UNREACHABLE: you('Submit again in a moment. Nothing was charged.'),
  NOT_SENT: you('Submit again in a moment. Nothing was sent, and nothing was charged.'),
  CANCELLED: nobody('Nothing to do. Submit again if you want the picture after all.'),
  UPSTREAM_OUTCOME_UNKNOWN: operator(
    'Wait for a late result before you submit again with force: true: it could be charged twice. The operator can look the task up.',
  ),
  SETTLEMENT_TIMEOUT: operator(
    'Wait: a late result still counts. Submit again with force: true only if you accept a second charge.',
  ),
  IDEMPOTENCY_KEY_REUSED: you('Use a new idempotency key for a new request.'),
  RATE_LIMITED: you('You have sent too many requests: wait, then submit again.'),
}

/** A code that this console does not know yet has the advice that fits any failure. */
export function toAdvice(code: string): Advice {
  return (
    ADVICE[code] ?? operator('Give the correlation id to the operator, who can find the cause in the log.')
  )
}
