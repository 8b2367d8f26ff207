import type { ComponentChildren } from 'preact'
import { Icon, type IconName } from './icon.tsx'

interface EmptyStateProps {
  readonly icon?: IconName
  readonly title: string
  readonly children?: ComponentChildren
}

/** Says why there is nothing, and what to do. */
export function EmptyState({ icon = 'image', title, children }: EmptyStateProps) {
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={icon} size={22} />
      </span>
      <h3>{title}</h3>
      {children !== undefined && <div class="empty-text">{children}</div>}
    </div>
  )
}
