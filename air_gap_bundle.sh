#!/bin/sh
# The front door of the air-gap bundle (docs/air-gap.md).
#
#   ./air_gap_bundle.sh probe [FOLDER...]       isolated host, nothing installed: its profile on stdout, to be carried back
#   ./air_gap_bundle.sh build CONFIG -o DIR     connected side: make a bundle (--target PROFILE, --ssh-key KEY,
#                                               --openssl-key PEM, --resolve-only)
#   ./air_gap_bundle.sh sign FOLDER             sign the manifest.json of a bundle, a run or a stage (the same keys)
#   ./air_gap_bundle.sh verify BUNDLE ...       isolated side: every byte, by the verifier beside this
#                                               script; without one, by the bundle's own, which vouches for nothing
#   ./air_gap_bundle.sh install BUNDLE --root DIR ...       verify, copy, install, prove; by the same choice
#   ./air_gap_bundle.sh rollback|uninstall|list --root DIR ...      by the install.py of the release in DIR
#
# PYTHON names the interpreter that builds; otherwise the checkout's .venv, python3.11 or python3. The other commands take
# nothing from the caller that could choose a program: not PYTHON, PATH, BASH_ENV, exported functions. They run the
# system's python3 (/usr/bin, /bin, /usr/local/bin) as an isolated interpreter (-I -S -B). To use another one, name it
# yourself: /path/to/python3 -I -S -B BUNDLE/verify.py BUNDLE ...

# In POSIX mode bash, too, looks for `exec` before it looks for a function of that name, which a caller may export.
POSIXLY_CORRECT=1
case "${1-}" in
    verify | install | rollback | uninstall | list)
        exec /usr/bin/env -i PATH=/usr/bin:/bin:/usr/local/bin LC_ALL=C TMPDIR="${TMPDIR-}" CALLERS_PATH="${PATH-}" \
            IGNORED_PYTHON="${PYTHON-}" /bin/sh "$0" --clean "$@"
        ;;
esac
clean=no
if [ "${1-}" = --clean ]; then
    clean=yes
    shift
fi
set -eu
LC_ALL=C
export LC_ALL

here=$(CDPATH='' cd -P -- "$(dirname -- "$0")" && pwd)

fail() {
    printf 'air_gap_bundle.sh: %s\n' "$1" >&2
    exit 2
}

usage() {
    sed -n '2,17s/^# \{0,1\}//p' "$0"
}

# ------------------------------------------------------------------------------------------------------------- probe

# A JSON string, or null for nothing. What a host says of itself is reduced to printable ASCII.
text() {
    plain=$(printf '%s' "$1" | tr -cd ' -~' | cut -c 1-200 | sed 's/\\/\\\\/g; s/"/\\"/g')
    if [ -n "$plain" ]; then printf '"%s"' "$plain"; else printf null; fi
}

has() { command -v "$1" >/dev/null 2>&1; }

# true or false, by whether a command succeeds within ten seconds.
truth() {
    if [ "$1" != command ] && has timeout; then set -- timeout 10 "$@"; fi
    if "$@" >/dev/null 2>&1 </dev/null; then printf true; else printf false; fi
}

glibc_version() {
    found=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed -n 's/^glibc \([0-9][0-9.]*\).*/\1/p')
    if [ -z "$found" ] && has ldd; then
        found=$(ldd --version 2>/dev/null | sed -n '1s/.*\(GLIBC\|GNU libc\).* \([0-9][0-9]*\.[0-9][0-9]*\)$/\2/p')
    fi
    printf '%s' "$found" | cut -d . -f 1,2
}

# Every python3 and python3.N on the PATH and in the usual places, each version with the first path that gives it.
pythons() {
    seen=' '
    comma=''
    IFS=:
    for folder in $PATH:/usr/bin:/usr/local/bin; do
        unset IFS
        for program in "$folder"/python3 "$folder"/python3.[0-9] "$folder"/python3.[0-9][0-9]; do
            [ -x "$program" ] || continue
            version=$("$program" -I -S -c 'import sys; sys.stdout.write("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) ||
                continue
            case "$seen" in *" $version "*) continue ;; esac
            seen="$seen$version "
            printf '%s\n  {"path": %s, "version": %s}' "$comma" "$(text "$program")" "$(text "$version")"
            comma=,
        done
        IFS=:
    done
    unset IFS
}

gpu() {
    driver=''
    names=''
    if has nvidia-smi; then
        rows=$(nvidia-smi --query-gpu=driver_version,name,memory.total --format=csv,noheader 2>/dev/null) || rows=''
        driver=$(printf '%s\n' "$rows" | sed -n '1s/^\([0-9.]*\),.*/\1/p')
        names=$(printf '%s\n' "$rows" | sed -n 's/^[0-9.]*, *//p')
    fi
    if [ -z "$driver" ] && [ -r /sys/module/nvidia/version ]; then
        driver=$(sed -n '1s/^\([0-9.]*\).*/\1/p' /sys/module/nvidia/version)
    fi
    printf '{"driver": %s, "devices": [' "$(text "$driver")"
    comma=''
    printf '%s\n' "$names" | while IFS= read -r name; do
        [ -n "$name" ] || continue
        printf '%s%s' "$comma" "$(text "$name")"
        comma=', '
    done
    printf ']}'
}

# Free space and filesystem of each folder that a release could go to.
disks() {
    comma=''
    for folder in "$@"; do
        [ -d "$folder" ] || continue
        free=$(df -P -k -- "$folder" 2>/dev/null | awk 'NR == 2 { printf "%.0f", $4 * 1024 }')
        kind=$(stat -f -c %T -- "$folder" 2>/dev/null) || kind=''
        printf '%s\n  {"folder": %s, "filesystem": %s, "free_bytes": %s}' \
            "$comma" "$(text "$folder")" "$(text "$kind")" "${free:-0}"
        comma=,
    done
}

tools() {
    comma=''
    for tool in bwrap gcc ldd nvidia-smi openssl sha256sum ssh-keygen strace tar unshare; do
        printf '%s"%s": %s' "$comma" "$tool" "$(truth command -v "$tool")"
        comma=', '
    done
}

probe() {
    [ "$(uname -s)" = Linux ] || fail "probe: this host runs $(uname -s); bundles are for Linux"
    [ $# -gt 0 ] || set -- / /opt /srv /var /tmp
    release=$(sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' /etc/os-release 2>/dev/null) || release=''
    fips=false
    [ "$(cat /proc/sys/crypto/fips_enabled 2>/dev/null)" = 1 ] && fips=true
    openssh=''
    if has ssh; then openssh=$(ssh -V 2>&1 | sed -n '1s/^OpenSSH_\([^ ,]*\).*/\1/p'); fi
    openssl=''
    if has openssl; then openssl=$(openssl version 2>/dev/null | sed -n '1s/^[A-Za-z]* \([^ ]*\).*/\1/p'); fi
    memory=$(awk '/^MemTotal:/ { printf "%.0f", $2 * 1024 }' /proc/meminfo 2>/dev/null) || memory=''
    cat <<END
{
 "schema": "distill-offline-profile/1",
 "arch": $(text "$(uname -m)"),
 "kernel": $(text "$(uname -r)"),
 "release": $(text "$release"),
 "glibc": $(text "$(glibc_version)"),
 "pythons": [$(pythons)],
 "openssh": $(text "$openssh"),
 "openssl": $(text "$openssl"),
 "fips": $fips,
 "gpu": $(gpu),
 "user_namespace": $(truth unshare --user --map-root-user true),
 "network_namespace": $(truth unshare --user --map-root-user --net true),
 "cpus": $(getconf _NPROCESSORS_ONLN 2>/dev/null || printf 0),
 "memory_bytes": ${memory:-0},
 "tools": {$(tools)},
 "disks": [$(disks "$@")]
}
END
}

# ------------------------------------------------------------------------------------------------- the other commands

builder_python() {
    if [ -n "${PYTHON:-}" ]; then printf '%s' "$PYTHON"
    elif [ -x "$here/.venv/bin/python" ]; then printf '%s' "$here/.venv/bin/python"
    elif has python3.11; then printf python3.11
    else printf python3
    fi
}

connected() {
    PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
    export PYTHONPATH
    exec "$(builder_python)" -m distill_offline.bundle "$@"
}

# The folder after the verb, made absolute so that no name of one can pass for an option.
bundle_folder() {
    [ $# -gt 0 ] || fail "name the bundle's folder"
    [ -f "$1/manifest.json" ] || fail "$1: is no bundle, it has no manifest.json"
    CDPATH='' cd -P -- "$1" && pwd
}

# The system's own interpreter, with an environment that holds what was asked for and nothing else.
isolated() {
    [ "$clean" = yes ] || fail "--clean is not for people"
    [ -z "${IGNORED_PYTHON-}" ] ||
        printf 'air_gap_bundle.sh: PYTHON counts for build alone; name that interpreter yourself (see --help)\n' >&2
    for python in /usr/bin/python3 /bin/python3 /usr/local/bin/python3; do
        [ -x "$python" ] || continue
        # The caller's PATH is where the bundle's tools are looked for; none of them is run from there.
        exec /usr/bin/env -i PATH="${CALLERS_PATH-}" LC_ALL=C TMPDIR="${TMPDIR-}" "$python" -I -S -B "$@"
    done
    fail "there is no python3 in /usr/bin, /bin and /usr/local/bin; name yours: /path/to/python3 -I -S -B $1 ..."
}

# Before code of a release is run to judge it: that it is the file which the release's manifest lists. Who can change the
# manifest, too, is not stopped by this; an installer of your own, beside this script, is.
untouched() {
    digest=$(sed -n "/^   \"path\": \"$2\",\$/{n;s/^   \"sha256\": \"\([0-9a-f]*\)\".*/\1/p;}" "$1/manifest.json")
    [ -f "$1/$2" ] && [ -n "$digest" ] && [ "$(sha256sum <"$1/$2" | cut -c 1-64)" = "$digest" ] ||
        fail "$1/$2 is not what the release's manifest lists: it was changed. Use an installer of your own"
}

# The checkout's script where there is one: what is to be judged cannot judge itself.
own_or() {
    if [ -f "$here/distill_offline/bundle/$1" ]; then
        printf '%s' "$here/distill_offline/bundle/$1"
        return
    fi
    printf 'air_gap_bundle.sh: %s is run, which cannot vouch for itself: compare its digest first (docs/air-gap.md)\n' \
        "$2" >&2
    printf '%s' "$2"
}

root_of() {
    found=''
    for word in "$@"; do
        case "$word" in
            --root=*) found=${word#--root=} ;;
            *) [ "${before:-}" = --root ] && found=$word ;;
        esac
        before=$word
    done
    [ -n "$found" ] || fail "give --root DIR"
    printf '%s' "$found"
}

verb=${1:-help}
[ $# -eq 0 ] || shift
case "$verb" in
    probe) probe "$@" ;;
    build | sign) connected "$verb" "$@" ;;
    verify)
        bundle=$(bundle_folder "$@")
        shift
        isolated "$(own_or verifier/verify.py "$bundle/verify.py")" "$bundle" "$@"
        ;;
    install)
        bundle=$(bundle_folder "$@")
        shift
        isolated "$(own_or installer/install.py "$bundle/install.py")" install "$bundle" "$@"
        ;;
    rollback | uninstall | list)
        release=$(root_of "$@")/current
        installer=$here/distill_offline/bundle/installer/install.py
        if [ ! -f "$installer" ]; then
            installer=$release/install.py
            untouched "$release" install.py
            untouched "$release" verify.py
        fi
        isolated "$installer" "$verb" "$@"
        ;;
    help | -h | --help) usage ;;
    *) usage >&2; fail "there is no command $verb" ;;
esac
