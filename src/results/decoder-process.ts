/** The program of the decoder process: see decoder.ts. It answers one order at a time. */
import sharp from 'sharp'
import { decode, type Order } from './decode.ts'

/** An unused process only takes memory. */
const IDLE_MS = 60_000
/** sharp ends its work after 30 s; a decoder that hangs beyond that ends the process. */
const HANG_MS = 40_000
const HANG_CODE = 3

// Each picture is decoded once, so a cache only keeps memory. More threads decode no faster here, but each has buffers.
sharp.cache(false)
sharp.concurrency(1)

const stopWhenIdle = () => setTimeout(() => process.exit(0), IDLE_MS)
let idle = stopWhenIdle()

process.on('message', (order: Order) => {
  clearTimeout(idle)
  const hang = setTimeout(() => process.exit(HANG_CODE), HANG_MS)
  void decode(order).then((reply) => {
    clearTimeout(hang)
    idle = stopWhenIdle()
    process.send?.(reply)
  })
})
// The service has ended, in whatever way.
process.on('disconnect', () => process.exit(0))
