#!/bin/sh
# Compile the Solidity of this folder with solc from npm (kept in the cache): compile.sh [--check]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
modules=$(cd "$here/.." && python3 -c 'from servers.cache import npm_packages; import sys; print(npm_packages(sys.argv[1]))' "$here")
exec node "$here/compile.mjs" "$modules" "$@"
