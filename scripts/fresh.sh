#!/bin/sh
# Run make demo and make test, or other commands, in a clone of this repository
# on a Debian made for the run, which is removed afterwards.  See usage().
set -eu

usage() {
    cat <<'END'
Usage: scripts/fresh.sh [OPTION]... [-- COMMAND...]

Make a new Debian system with debootstrap, clone the last commit of this
repository into it, and run each COMMAND (a line for the shell) in the clone.
The default commands are 'make demo' and 'make test'.  The system has nothing
but debootstrap's minimum, make and git; it is removed at the end.  It shares
this machine's kernel and network, and uses the mirror, proxies and certificates
that apt uses here.

  --release NAME   bookworm (default), trixie or another release of the mirror
  --cache          use this machine's cache of built interpreters,
                   ${XDG_CACHE_HOME:-~/.cache}/isan (default: an empty cache)
  --user           run the commands as a user who can use sudo, not as root
  --mirror URL     the Debian mirror (default: the first of apt's that has the release)
  --log FILE       where all output goes (default: build/fresh-RELEASE.log)
  --keep           keep the system, and say where it is
  --check          only say whether this machine can do it (exit status 0 or 2)

PYTEST_ARGS, JOBS, PYTHONS, ISAN_TEST_PYTHONS, CI and the variables of proxies
are passed on.  Downloaded packages are kept in ${XDG_CACHE_HOME:-~/.cache}/isan/debs.
Exit status: that of the first command that failed; 2 if the system cannot be made.
END
}

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/isan
places=${TMPDIR:-/var/tmp}
passed_on="PYTEST_ARGS JOBS PYTHONS ISAN_TEST_PYTHONS CI TERM
    http_proxy https_proxy ftp_proxy no_proxy HTTP_PROXY HTTPS_PROXY FTP_PROXY NO_PROXY"

fail() {
    echo "fresh: $*" >&2
    exit 2
}

say() {
    seconds=$(($(date +%s) - started))
    printf 'fresh: %s: %s (%d:%02d)\n' "$release" "$*" $((seconds / 60)) $((seconds % 60)) | tee -a "$log"
}

# --- what this machine has -------------------------------------------------

check_machine() {
    [ "$(id -u)" = 0 ] || fail "needs root, to mount file systems and change the root directory: run it with sudo"
    for tool in debootstrap unshare git; do
        command -v $tool >/dev/null || fail "$tool is missing: apt-get install $(echo $tool | sed s/unshare/util-linux/)"
    done
    [ -x /usr/lib/apt/apt-helper ] || fail "needs apt, to read Debian's mirror"
    unshare --mount --pid --fork sh -c 'mount -t proc proc /proc && mount -t tmpfs tmpfs /mnt' 2>/dev/null ||
        fail "may not make namespaces and mounts here (unshare, mount): use a virtual machine or a privileged container"
    place=$(mktemp -d "$places/isan-fresh.XXXXXX")
    { mknod "$place/null" c 1 3 && echo > "$place/null"; } 2>/dev/null || {
        rm -r "$place"
        fail "no devices can be made in $places: set TMPDIR to a directory where they can (not mounted with nodev)"
    }
    rm -r "$place"
    git_here rev-parse --quiet --verify HEAD >/dev/null || fail "$root is not a git repository with a commit to clone"
    find_mirrors
}

# git refuses the repository of another user, but for those that the user's own
# configuration names (safe.directory).
git_here() {
    configuration=$(mktemp)
    printf '[safe]\n\tdirectory = *\n' > "$configuration"
    status=0
    GIT_CONFIG_GLOBAL=$configuration git -C "$root" "$@" || status=$?
    rm -f "$configuration"
    return $status
}

# Set mirror (unless it is given) and sources, the lines of a sources.list.
find_mirrors() {
    sources=
    directory=$(mktemp -d)
    for uri in ${mirror:-$(apt-get indextargets --format '$(REPO_URI)' | sort -u)}; do
        uri=${uri%/}
        for suite in "$release" "$release-updates" "$release-security"; do
            # What apt itself can fetch, through its proxies.  A mirror may answer with a page for what it has not.
            rm -f "$directory/InRelease"
            /usr/lib/apt/apt-helper download-file "$uri/dists/$suite/InRelease" "$directory/InRelease" >/dev/null 2>&1 &&
                grep -q "^Codename: $suite\$" "$directory/InRelease" || continue
            [ "$suite" != "$release" ] || mirror=${mirror:-$uri}
            sources="${sources}deb $uri $suite main
"
        done
    done
    rm -rf "$directory"
    case $sources in
        *" $release main"*) ;;
        *) fail "no mirror of this machine's apt has Debian $release: give one with --mirror URL" ;;
    esac
}

# --- inside the namespaces -------------------------------------------------

# A command of ours whose output only the log has.
quietly() {
    "$@" >> "$log" 2>&1 || {
        tail -n 15 "$log" >&2
        fail "$1 failed: its last lines are above, all of them in $log"
    }
}

# Devices, /proc and the like.  They go when the mount namespace does.
mount_all() {
    mount -t proc proc "$tree/proc"
    mount --rbind /sys "$tree/sys"
    mount -t tmpfs -o mode=755 dev "$tree/dev"
    for device in null zero full random urandom tty; do
        touch "$tree/dev/$device"
        mount --bind /dev/$device "$tree/dev/$device"
    done
    ln -s /proc/self/fd "$tree/dev/fd"
    ln -s fd/0 "$tree/dev/stdin"
    ln -s fd/1 "$tree/dev/stdout"
    ln -s fd/2 "$tree/dev/stderr"
    mkdir "$tree/dev/pts" "$tree/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$tree/dev/pts"
    ln -s pts/ptmx "$tree/dev/ptmx"
    mount -t tmpfs -o mode=1777 shm "$tree/dev/shm"
    mount --bind "$work/debs" "$tree/var/cache/apt/archives"
    if [ -n "$with_cache" ]; then
        mkdir -p "$cache" "$tree$cache"
        mount --bind "$cache" "$tree$cache"
    fi
}

# copy_debs FROM TO: packages that TO has not.  Each run has a directory of its own, since apt locks it.
copy_debs() {
    mkdir -p "$1" "$2"
    for deb in "$1"/*.deb; do
        [ ! -e "$deb" ] || [ -e "$2/${deb##*/}" ] || cp -l "$deb" "$2/" 2>/dev/null || cp "$deb" "$2/"
    done
}

# The network as apt here is configured for it.
configure() {
    cp -L /etc/resolv.conf /etc/hosts "$tree/etc/"
    printf '%s' "$sources" > "$tree/etc/apt/sources.list"
    rm -rf "$tree"/var/lib/apt/lists/*
    apt-config dump | grep -E '^Acquire::(http|https|ftp|Retries|Check-|ForceIPv)' | grep -v -e ' "";$' -e 'Proxy-Auto-Detect' \
        > "$tree/etc/apt/apt.conf.d/90fresh" || true
    sed -n 's/^Acquire::https.*::\(CaInfo\|SslCert\|SslKey\) "\(.*\)";$/\2/p' "$tree/etc/apt/apt.conf.d/90fresh" |
        while read -r file; do
            mkdir -p "$tree$(dirname "$file")"
            cp -L "$file" "$tree$file"
        done
    # The package ca-certificates takes them up when it is installed.
    if [ -d /usr/local/share/ca-certificates ]; then
        mkdir -p "$tree/usr/local/share/ca-certificates"
        cp -RL /usr/local/share/ca-certificates/. "$tree/usr/local/share/ca-certificates/"
        [ ! -x "$tree/usr/sbin/update-ca-certificates" ] || quietly chroot "$tree" update-ca-certificates
    fi
    # No service is started, and no write waits for the disk, as the system is thrown away.
    printf '#!/bin/sh\nexit 101\n' > "$tree/usr/sbin/policy-rc.d"
    chmod 755 "$tree/usr/sbin/policy-rc.d"
    echo force-unsafe-io > "$tree/etc/dpkg/dpkg.cfg.d/fresh"
}

add_user() {
    quietly chroot "$tree" apt-get update -q
    quietly chroot "$tree" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends sudo
    quietly chroot "$tree" useradd --create-home --shell /bin/sh user
    echo 'user ALL=(ALL) NOPASSWD: ALL' > "$tree/etc/sudoers.d/user"
    chmod 440 "$tree/etc/sudoers.d/user"
}

# in_tree COMMAND: in the clone, with nothing of this machine's environment but what is passed on.
in_tree() {
    command=$1
    set -- HOME="$home" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    [ -z "$with_cache" ] || set -- "$@" XDG_CACHE_HOME="$(dirname "$cache")"
    for name in $passed_on; do
        eval "[ -z \"\${$name+set}\" ] || set -- \"\$@\" \"$name=\$$name\""
    done
    if [ -n "$as_user" ]; then
        chroot "$tree" setpriv --reuid=user --regid=user --init-groups env -i "$@" USER=user sh -c "cd ~/isan && $command"
    else
        chroot "$tree" env -i "$@" USER=root sh -c "cd ~/isan && $command"
    fi
}

inside() {
    trap 'exit 130' INT
    home=/root
    [ -z "$as_user" ] || home=/home/user
    copy_debs "$debs" "$work/debs"

    say "install the base system from $mirror"
    for scheme in http https; do
        eval "$(apt-config shell proxy "Acquire::$scheme::Proxy")"
        [ "${proxy:-DIRECT}" = DIRECT ] || export "${scheme}_proxy=$proxy"
        proxy=
    done
    include=make,git
    case $sources in *"deb https:"*) include=$include,ca-certificates ;; esac
    quietly debootstrap --variant=minbase --include=$include --cache-dir="$work/debs" "$release" "$tree" "$mirror"
    configure
    mount_all
    [ -z "$as_user" ] || add_user

    say "clone $(git_here rev-parse --short HEAD)"
    quietly git_here clone --quiet --no-hardlinks "$root" "$tree$home/isan"
    [ -z "$as_user" ] || chroot "$tree" chown -R user:user "$home/isan"

    result=0
    for number in $(seq "$(ls "$work/commands" | wc -l)"); do
        command=$(cat "$work/commands/$number")
        say "$command"
        { status=0; in_tree "$command" || status=$?; echo $status > "$work/status"; } 2>&1 | tee -a "$log"
        read -r status < "$work/status"
        say "$command: exit status $status"
        [ "$result" != 0 ] || result=$status
    done
    copy_debs "$work/debs" "$debs"
    exit "$result"
}

if [ "${1-}" = --inside ]; then
    inside
fi

# --- the command -----------------------------------------------------------

release=bookworm mirror='' log='' with_cache='' as_user='' keep='' check_only=''
value() { [ $# -ge 2 ] && [ -n "$2" ] || fail "$1 needs a value: see --help"; }
while [ $# -gt 0 ]; do
    case $1 in
        --release) value "$@"; release=$2; shift ;;
        --mirror) value "$@"; mirror=$2; shift ;;
        --log) value "$@"; log=$2; shift ;;
        --cache) with_cache=yes ;;
        --user) as_user=yes ;;
        --keep) keep=yes ;;
        --check) check_only=yes ;;
        --help | -h) usage; exit 0 ;;
        --) shift; break ;;
        *) fail "unknown argument '$1': see --help" ;;
    esac
    shift
done
[ $# -gt 0 ] || set -- "make demo" "make test"
[ -z "$with_cache" ] || [ -z "$as_user" ] || fail "--user has a cache of its own: leave out --cache"

started=$(date +%s)
check_machine
[ -z "$check_only" ] || exit 0

log=${log:-$root/build/fresh-$release.log}
mkdir -p "$(dirname "$log")"
: > "$log"
debs=$cache/debs/$release
[ -z "$(git_here status --porcelain)" ] || say "changes that are not committed are not in the clone"

work=$(mktemp -d "$places/isan-fresh.XXXXXX")
tree=$work/tree
chmod 755 "$work"
clean_up() {
    if [ -n "$keep" ]; then
        say "kept: $tree"
    else
        # Nothing is mounted there any more: the mounts went with their namespace.
        # What was killed may still be writing.
        rm -rf --one-file-system "$work" 2>/dev/null || { sleep 2; rm -rf --one-file-system "$work"; }
    fi
}
trap clean_up EXIT
mkdir "$work/commands" "$tree"
number=0
for command; do
    number=$((number + 1))
    printf '%s\n' "$command" > "$work/commands/$number"
done

export root cache release mirror sources log debs with_cache as_user work tree started
# When unshare is killed, so is the first process of the PID namespace, and with that all others in it.
# A shell without job control has its background processes ignore Ctrl-C: that is undone.
env --default-signal=INT,QUIT unshare --mount --pid --fork --kill-child "$0" --inside &
child=$!
trap 'kill -KILL $child; wait $child || true; exit 130' INT
trap 'kill -KILL $child; wait $child || true; exit 143' TERM HUP
status=0
wait $child || status=$?
trap - INT TERM HUP
say "ended with exit status $status"
exit $status
