import { useEffect, useState } from 'preact/hooks'
import { useAnnounce } from './live.tsx'
import { Button } from './button.tsx'

const SHOWN_MS = 1_500

/** Copies a text. `label` says what it is, such as "Copy the task id". */
export function CopyButton({ value, label, text }: { value: string; label: string; text?: string }) {
  const [isCopied, setCopied] = useState(false)
  const announce = useAnnounce()
  useEffect(() => {
    if (!isCopied) return
    const timer = setTimeout(() => setCopied(false), SHOWN_MS)
    return () => clearTimeout(timer)
  }, [isCopied])
  const copy = () => {
    void writeClipboard(value).then((isWritten) => {
      setCopied(isWritten)
      announce(isWritten ? 'Copied' : 'The browser does not allow copying')
    })
  }
  const icon = isCopied ? 'check' : 'copy'
  if (text === undefined)
    return <Button variant="ghost" size="small" icon={icon} label={label} onClick={copy} />
  return (
    <Button variant="secondary" size="small" icon={icon} onClick={copy}>
      {text}
    </Button>
  )
}

async function writeClipboard(text: string): Promise<boolean> {
  try {
    // Absent on plain HTTP, except on this machine.
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return false
  }
}
