/** Upscales pictures of a generation, and shows them live. */
export function TryPage() {
  return <h1>Try it</h1>
}
