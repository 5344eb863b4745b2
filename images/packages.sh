#!/bin/sh
# Installs what the arguments name into /opt/fulcrum, without files not needed at run time: headers,
# static libraries, commands other than ours, the packages' own tests, and where they came from.
#
# Bytecode is kept, since a read-only root can have none made later: without it, every process would
# compile what it imports. It is not compared with the sources' times, which a build changes. Some
# packages ship templates that are no Python; the compiler's complaint about them is ignored.
set -eu
. /images/index.sh
/tools/bin/uv pip install --quiet --no-cache --no-deps \
  --python /opt/fulcrum --link-mode copy "$@"
rm -f /opt/fulcrum/.lock
find /opt/fulcrum/bin -type f ! -name fulcrum -delete
cd /opt/fulcrum/lib/python3*/site-packages
find . -type d \( -name tests -o -path ./torch/include -o -path './nvidia/*/include' \
  -o -path ./torch/share/cmake -o -path ./torch/test -o -path ./pyarrow/include \
  -o -path ./onnx/backend/test \) -prune -exec rm -rf {} +
find . -type f \( -name direct_url.json -o -name uv_cache.json -o -name '*.a' -o -name '*.pyi' \
  -o -name '*.pyx' -o -name '*.h' -o -name '*.cuh' \) -delete
if [ -d botocore/data ]; then  # descriptions of 400 services, of which the store needs one and its logins
  find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name 'sso*' \
    ! -name signin -exec rm -rf {} +
fi
python3 -m compileall -qq --invalidation-mode unchecked-hash -j 0 . || true
