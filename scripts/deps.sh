#!/bin/sh
# Install the packages of some groups of packages.txt that are missing, and
# check that all they are needed for is there.  Usage: deps.sh GROUP...
#
# On a machine without apt, and for a user who may not install packages, only the
# check is made: compilers, headers and programs from elsewhere will do.
set -eu
here=$(dirname "$0")
python=${PYTHON:-/usr/bin/python3}
groups=" $* "
wanted=$(while read -r group package _; do
    case "$groups" in *" $group "*) echo "$package" ;; esac
done < "$here/packages.txt")

# What cannot be found: names of packages.  Without Python that is all of them.
lacking() {
    if [ -x "$python" ]; then
        "$python" -I "$here/isan/__main__.py" doctor --missing "$@"
    else
        echo $wanted
        return 1
    fi
}

is_installed() {
    case "$(dpkg-query -W -f '${Status}' "$1" 2>/dev/null)" in
        "install ok installed" | "hold ok installed") return 0 ;;
    esac
    # NodeSource's nodejs brings an npm of its own, which Debian's npm conflicts with.
    [ "$1" = npm ] && command -v npm >/dev/null
}

# Of A|B|C those that are missing: nothing if one is installed.
uninstalled() {
    alternatives=$1
    set -f
    for package in $(IFS='|'; echo $alternatives); do
        ! is_installed "$package" || return 0
    done
    echo "$alternatives"
}

# Of A|B|C the first that this machine's apt knows.
known() {
    for package in $(IFS='|'; echo $1); do
        [ -z "$(apt-cache show "$package" 2>/dev/null)" ] || { echo "$package"; return; }
    done
    echo "${1%%|*}"
}

if ! command -v apt-get >/dev/null; then
    if names=$(lacking "$@"); then exit 0; fi
    [ -n "$names" ] || exit 2
    echo "isan: no apt on this machine, and what these Debian packages hold is missing: install that first:" $names >&2
    exit 2
fi
missing=$(for package in $wanted; do uninstalled "$package"; done)
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then
        sudo=
    elif command -v sudo >/dev/null; then
        sudo=sudo
    else
        if names=$(lacking "$@"); then exit 0; fi
        [ -n "$names" ] || exit 2
        echo "isan: packages are missing and this user can neither be root nor use sudo: have root run: apt-get install" \
            $(for package in $missing; do echo "${package%%|*}"; done) >&2
        exit 2
    fi
    install() {
        packages=$(for package in $missing; do known "$package"; done)
        echo "isan: installing" $packages
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q -o DPkg::Lock::Timeout=120 --no-install-recommends $packages
    }
    # A new Debian may have no package lists, and too old ones make the first try fail.
    [ -n "$(apt-cache madison libc6 2>/dev/null)" ] || $sudo apt-get update -q || true
    install || { $sudo apt-get update -q && install; } || {
        echo "isan: apt could not install" $missing: see its message above >&2
        exit 2
    }
fi
if names=$(lacking "$@"); then exit 0; fi
# Without names the check itself has said what is wrong.
[ -z "$names" ] || echo "isan: installed, and yet not found:" $names: "look at PATH, CC and PYTHON" >&2
exit 2
