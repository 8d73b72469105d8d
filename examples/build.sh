#!/usr/bin/env bash
# Unpacks the contract into dist/contract and builds every example; `make examples` writes the archive first.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in node npm; do
  command -v "$tool" >/dev/null || { echo "the Node example needs $tool; install Node.js 20 or newer" >&2; exit 1; }
done

rm -rf dist/contract dist/unpacked
.venv/bin/python -m zipfile -e dist/grounds-contract-*.zip dist/unpacked
mv dist/unpacked/* dist/contract
npm --prefix examples/node ci --silent --ignore-scripts
examples/java/build.sh
examples/go/build.sh
