/** Something is on its way. Purely visual: say what beside it. */
export function Spinner() {
  return <span class="spinner" aria-hidden="true" />
}
