#!/bin/sh
# Install this bundle; it is verified first, and again byte by byte while it is copied.
#   sh INSTALL.sh --root DIR --allowed-signers FILE        (options: sh INSTALL.sh --help)
set -eu
here=$(CDPATH='' cd -P -- "$(dirname -- "$0")" && pwd)
exec "${PYTHON:-python3}" -I -S -B "$here/install.py" install "$here" "$@"
