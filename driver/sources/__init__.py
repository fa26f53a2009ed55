"""From a file, the standard input or a link to a clean image."""
