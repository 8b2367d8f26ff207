const FIN_TEXT = 0x81

/** A text message of a server, given in parts, in one frame and one piece of memory (RFC 6455 §5.2). */
export function toTextFrame(parts: readonly string[]): Buffer {
  let length = 0
  for (const part of parts) length += Buffer.byteLength(part)
  const head = length < 126 ? 2 : length < 65_536 ? 4 : 10
  const frame = Buffer.allocUnsafe(head + length)
  frame[0] = FIN_TEXT
  frame[1] = head === 2 ? length : head === 4 ? 126 : 127
  if (head === 4) frame.writeUInt16BE(length, 2)
  if (head === 10) frame.writeBigUInt64BE(BigInt(length), 2)
  let at = head
  for (const part of parts) at += frame.write(part, at)
  return frame
}
