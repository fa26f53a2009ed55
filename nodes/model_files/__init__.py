"""Model files: found by name, alias or hash, inspected, downloaded, chosen."""
