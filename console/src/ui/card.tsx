import type { ComponentChildren } from 'preact'

interface CardProps {
  readonly title?: ComponentChildren
  /** Small text beside the title. */
  readonly note?: ComponentChildren
  /** Buttons, at the end of the title's line. */
  readonly actions?: ComponentChildren
  readonly class?: string
  readonly children: ComponentChildren
}

/** A surface with a heading. */
export function Card({ title, note, actions, class: more = '', children }: CardProps) {
  return (
    <section class={`card ${more}`}>
      {title !== undefined && (
        <header class="card-header">
          <h2 class="card-title">{title}</h2>
          {note !== undefined && <span class="card-note">{note}</span>}
          {actions !== undefined && <div class="card-actions">{actions}</div>}
        </header>
      )}
      <div class="card-body">{children}</div>
    </section>
  )
}
