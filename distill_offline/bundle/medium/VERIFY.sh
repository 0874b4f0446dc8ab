#!/bin/sh
# Verify this bundle by its own verifier, with a clean interpreter. A convenience: a medium cannot vouch for itself, so
# check the signature over manifest.json and the digest of verify.py with your own tools first (README.txt).
#   sh VERIFY.sh --allowed-signers FILE        (options: sh VERIFY.sh --help)
set -eu
here=$(CDPATH='' cd -P -- "$(dirname -- "$0")" && pwd)
exec "${PYTHON:-python3}" -I -S -B "$here/verify.py" "$here" "$@"
