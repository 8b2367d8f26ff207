/** Line icons on a grid of 16, drawn with the colour of the text. */
const PATHS = {
  copy: 'M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z',
  check: 'm3 8.5 3.2 3.2L13 4.8',
  cross: 'm4 4 8 8M12 4l-8 8',
  download: 'M8 2.5v7.7M4.8 7.2 8 10.4l3.2-3.2M2.8 13.5h10.4',
  external: 'M6.5 3.5h-3v9h9v-3M9 2.5h4.5V7M13 3 7.5 8.5',
  retry: 'M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3',
  sun: 'M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.2v1.4M8 13.4v1.4M1.2 8h1.4M13.4 8h1.4M3.2 3.2l1 1M11.8 11.8l1 1M12.8 3.2l-1 1M4.2 11.8l-1 1',
  moon: 'M13.3 9.6A5.6 5.6 0 0 1 6.4 2.7a5.6 5.6 0 1 0 6.9 6.9',
  warning: 'M8 2 1.8 13h12.4zM8 6.4v3M8 11.2v.1',
  info: 'M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8M8 7.3v3.6M8 5v.1',
  code: 'm5.5 4.5-3.5 3.5 3.5 3.5M10.5 4.5 14 8l-3.5 3.5',
  link: 'M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2.2-2.2a2.6 2.6 0 0 0-3.7-3.7l-.9.9M9.2 6.8a2.6 2.6 0 0 0-3.7 0L3.3 9a2.6 2.6 0 0 0 3.7 3.7l.9-.9',
  image: 'M2.5 3h11v10h-11zM2.5 10.8 6 7.3l5.5 5.7M10.3 6.2v.1',
  sparkle: 'M8 2v3.2M8 10.8V14M2 8h3.2M10.8 8H14M5.8 5.8 4 4M12 12l-1.8-1.8M10.2 5.8 12 4M4 12l1.8-1.8',
  signOut: 'M6.5 2.8h-4v10.4h4M10 5l3 3-3 3M13 8H6',
  arrow: 'M3 8h10M9 4l4 4-4 4',
} as const

export type IconName = keyof typeof PATHS

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  )
}
