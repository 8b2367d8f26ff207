import type { WebSocket, WebSocketServer } from 'ws'

/** The interval of pings. A client that has not answered the previous ping is disconnected. */
const PING_EVERY_MS = 12_000
/** All sockets are pinged in this many parts, to avoid a burst. */
const PING_TICKS = 120

/** Detects by pings which clients have disconnected without a close frame. */
export function pingRegularly(sockets: WebSocketServer): Disposable & { watch(socket: WebSocket): void } {
  const silent = new WeakSet<WebSocket>()
  function onPong(this: WebSocket) {
    silent.delete(this)
  }
  let round: WebSocket[] = []
  let tick = 0
  const timer = setInterval(() => {
    if (tick === 0) round = [...sockets.clients]
    const first = Math.ceil((tick * round.length) / PING_TICKS)
    tick += 1
    for (const socket of round.slice(first, Math.ceil((tick * round.length) / PING_TICKS))) {
      if (silent.has(socket)) socket.terminate()
      silent.add(socket)
      socket.ping()
    }
    tick %= PING_TICKS
  }, PING_EVERY_MS / PING_TICKS)
  return { watch: (socket) => void socket.on('pong', onPong), [Symbol.dispose]: () => clearInterval(timer) }
}
