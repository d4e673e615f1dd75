#!/bin/sh
# The isan command: scripts/isan/__main__.py of the tree this file was built
# in.  A preloaded libisan is for the program under test, not for the reporter:
# it is put aside here and given back to that program by __main__.py.
here=$(dirname "$(readlink -f "$0")")
if [ -n "${LD_PRELOAD:-}" ]; then
    export ISAN__LD_PRELOAD="$LD_PRELOAD"
    unset LD_PRELOAD
fi
exec @PYTHON@ -I "$here/../../scripts/isan/__main__.py" "$@"
