#!/usr/bin/env bash
# Compare pruning, fine-tuning and outcomes on a GPU with the CPU, on a bare machine.
#
# `hack/gpu_check.sh --prepare` fetches the wheels that such a machine lacks (needs an index);
# `hack/gpu_check.sh` needs Python 3.12 with torch, onnx and onnxruntime(-gpu), and downloads nothing.
# It prints a table, and exits with 0 if all agrees, 1 if something differs, 3 without a CUDA device.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
wheels="$here/gpu_check/wheels"
python=${PYTHON:-python3}
packages="pydantic pydantic-core annotated-types typing-inspection typing-extensions safetensors
torch-pruning onnxscript onnx-ir onnxslim pyyaml ml-dtypes packaging colorama sympy mpmath tqdm"

if [ "${1:-}" = --prepare ]; then
  mkdir -p "$wheels"
  for package in $packages; do
    pin=$(grep -oE "^$package==[^ ;]+" "$root/constraints.txt" || echo "$package")
    "$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
      --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 --dest "$wheels" "$pin"
  done
  du -sm "$wheels"
  exit
fi

lib=$(mktemp -d)
trap 'rm -rf "$lib"' EXIT
for wheel in "$wheels"/*.whl; do
  test -e "$wheel" || { echo "no wheels in $wheels; run $0 --prepare where there is an index" >&2; exit 2; }
  "$python" -m zipfile -e "$wheel" "$lib"
done
export CUBLAS_WORKSPACE_CONFIG=:4096:8
PYTHONPATH="$root/components:$root/pipelines" FULCRUM_CHECK_LIB="$lib" \
  timeout 340 "$python" "$here/gpu_check/check.py"
