#!/bin/sh
# Makes /tools, where uv and the build backend are, and the empty environment that becomes /opt/fulcrum.
# Used by both Containerfiles; no layer of this stage reaches an image.
set -eu
python3 -m venv /tools
. /images/index.sh
/tools/bin/pip install --quiet --no-cache-dir --require-hashes -r /images/locks/tools.txt
python3 -m venv --without-pip /opt/fulcrum
rm /opt/fulcrum/bin/[Aa]ctivate*
