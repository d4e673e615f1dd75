#!/bin/sh
# The isan command: scripts/isan/__main__.py of the tree that this file was
# built in. A preloaded libisan is for the program under test, not for this
# command: LD_PRELOAD is put aside here, and scripts/isan/cli restores it for
# that program.
here=$(dirname "$(readlink -f "$0")")
if [ -n "${LD_PRELOAD:-}" ]; then
    export ISAN__LD_PRELOAD="$LD_PRELOAD"
    unset LD_PRELOAD
fi
exec @PYTHON@ -I "$here/../../scripts/isan/__main__.py" "$@"
