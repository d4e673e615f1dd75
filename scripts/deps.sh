#!/bin/sh
# Install the packages of packages.txt that are missing.  Usage: deps.sh GROUP...
set -eu
groups=" $* "
wanted=$(while read -r group package _; do
    case "$groups" in *" $group "*) echo "$package" ;; esac
done < "$(dirname "$0")/packages.txt")

if ! command -v apt-get >/dev/null; then
    echo "isan: no apt on this machine: install what these Debian packages hold, then use 'make all' and 'make python':" $wanted >&2
    exit 2
fi
missing=
for package in $wanted; do
    # NodeSource's nodejs brings an npm of its own, which Debian's npm conflicts with.
    [ "$package" != npm ] || ! command -v npm >/dev/null || continue
    case "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" in
        "install ok installed" | "hold ok installed") ;;
        *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null; then
    sudo=sudo
else
    echo "isan: packages are missing and this user can neither be root nor use sudo: have root run: apt-get install$missing" >&2
    exit 2
fi
echo "isan: installing$missing"
install() {
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}
# A package list that is missing or too old makes the first try fail.
install || { $sudo apt-get update -q && install; } || {
    echo "isan: apt could not install$missing: see its message above" >&2
    exit 2
}
