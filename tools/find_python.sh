#!/bin/sh
# Print the path of a Python of the given version that can make a virtual environment,
# from PATH or, behind it, from pyenv. Exit 1 if there is none.
#   usage: find_python.sh 3.12
set -eu
for candidate in \
    "python$1" \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/"python$1"
do
    if found=$("$candidate" -c 'import ensurepip, sys, venv; print(sys.executable)' 2>/dev/null)
    then
        printf '%s\n' "$found"
        exit 0
    fi
done
exit 1
