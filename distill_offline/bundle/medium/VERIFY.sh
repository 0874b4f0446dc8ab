#!/bin/sh
# Verify this bundle by its own verifier, with a clean interpreter. A convenience: a medium cannot vouch for itself, so
# check the signature over manifest.json and the digest of verify.py with your own tools first (README.txt).
#   sh VERIFY.sh --allowed-signers FILE        (options: sh VERIFY.sh --help)
# Nothing of the caller's chooses another program: bash, too, looks for `exec` before functions in POSIX mode.
POSIXLY_CORRECT=1
case "${1-}" in
    --clean) shift ;;
    *) exec /usr/bin/env -i PATH=/usr/bin:/bin:/usr/local/bin TMPDIR="${TMPDIR-}" TOOLS="${PATH-}" /bin/sh "$0" --clean "$@" ;;
esac
set -eu
here=$(CDPATH='' cd -P -- "$(dirname -- "$0")" && pwd)
for python in /usr/bin/python3 /bin/python3 /usr/local/bin/python3; do
    [ -x "$python" ] || continue
    exec /usr/bin/env -i PATH="$TOOLS" LC_ALL=C TMPDIR="${TMPDIR-}" "$python" -I -S -B "$here/verify.py" "$here" "$@"
done
echo "There is no python3 in /usr/bin, /bin and /usr/local/bin: name yours, as README.txt says." >&2
exit 4
