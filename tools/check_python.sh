#!/bin/sh
# Say in one sentence why the given Python cannot be used here, if it cannot.
#   usage: check_python.sh python3
set -eu
fail() { printf 'error: %s\n' "$1" >&2; exit 1; }

command -v "$1" >/dev/null 2>&1 ||
    fail "$1 was not found; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12"
version=$("$1" -c 'import sys; sys.stdout.write("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    fail "$1 does not run; name another Python: make PYTHON=/path/to/python3.12"
"$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$1 is Python $version, but 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.12"
"$1" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$1 (Python $version) cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv"
