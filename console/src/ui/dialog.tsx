import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'
import { Button } from './button.tsx'

interface DialogProps {
  readonly title: string
  readonly isOpen: boolean
  /** Absent: the dialog cannot be closed. */
  readonly onClose?: () => void
  /** False: it stands in a corner, and the page can be used. */
  readonly isModal?: boolean
  readonly isWide?: boolean
  readonly children: ComponentChildren
}

export function Dialog({ title, isOpen, onClose, isModal = true, isWide = false, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const element = dialog.current
    if (!element || !isOpen) return
    if (isModal) element.showModal()
    else element.show()
    return () => element.close()
  }, [isOpen, isModal])
  return (
    <dialog
      ref={dialog}
      class={`dialog ${isModal ? '' : 'dialog-corner'} ${isWide ? 'dialog-wide' : ''}`}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault()
        onClose?.()
      }}
    >
      {isOpen && (
        <>
          <header class="dialog-header">
            <h2 id={id}>{title}</h2>
            {onClose && <Button variant="ghost" size="small" icon="cross" label="Close" onClick={onClose} />}
          </header>
          <div class="dialog-body">{children}</div>
        </>
      )}
    </dialog>
  )
}
