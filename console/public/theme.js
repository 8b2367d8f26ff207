/* Applies the theme that was chosen in an earlier visit; without one the styles follow the system. src/theme.ts stores it. */
try {
  const theme = localStorage.getItem('upscale-console:theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // The browser blocks the storage of this site.
}
