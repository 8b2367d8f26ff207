import type { ComponentChildren } from 'preact'
import { Icon, type IconName } from './icon.tsx'
import { Spinner } from './spinner.tsx'

interface Look {
  readonly variant?: 'primary' | 'secondary' | 'ghost' | 'danger'
  readonly size?: 'small' | 'medium' | 'large'
  readonly icon?: IconName
  readonly children?: ComponentChildren
  /** The name for screen readers, of a button that shows only an icon. */
  readonly label?: string
}

const toClass = ({ variant = 'secondary', size = 'medium', children }: Look): string =>
  `button button-${variant} button-${size}${children === undefined ? ' button-icon' : ''}`

interface ButtonProps extends Look {
  readonly onClick?: () => void
  readonly type?: 'button' | 'submit'
  /** Keeps the focus, unlike `disabled`: shows a spinner and ignores clicks. */
  readonly isBusy?: boolean
  readonly isDisabled?: boolean
  readonly isPressed?: boolean
}

export function Button({
  onClick,
  type = 'button',
  isBusy = false,
  isDisabled = false,
  ...look
}: ButtonProps) {
  const { icon, label, children, isPressed } = look
  return (
    <button
      type={type}
      class={toClass(look)}
      disabled={isDisabled}
      aria-busy={isBusy}
      aria-label={label}
      aria-pressed={isPressed}
      title={label}
      onClick={isBusy ? undefined : onClick}
    >
      {isBusy ? <Spinner /> : icon && <Icon name={icon} />}
      {children}
    </button>
  )
}

interface LinkButtonProps extends Look {
  readonly href: string
  /** Makes the browser save the file. */
  readonly download?: string
  /** Opens a new tab. */
  readonly isExternal?: boolean
}

/** A link that looks like a button. */
export function LinkButton({ href, download, isExternal = false, ...look }: LinkButtonProps) {
  const { icon, label, children } = look
  return (
    <a
      href={href}
      class={toClass(look)}
      aria-label={label}
      title={label}
      download={download}
      {...(isExternal && { target: '_blank', rel: 'noreferrer' })}
    >
      {icon && <Icon name={icon} />}
      {children}
    </a>
  )
}
