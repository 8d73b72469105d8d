#!/usr/bin/env bash
# Generates the Go packages of the contract and compiles the example with Debian's packages; see README.md.
set -euo pipefail
cd "$(dirname "$0")"
contract=${GROUNDS_CONTRACT:-../../dist/contract}
for tool in go protoc protoc-gen-go protoc-gen-go-grpc; do
  command -v "$tool" >/dev/null || { echo "the Go example needs $tool; see examples/go/README.md" >&2; exit 1; }
done
[ -f "$contract/grounds.binpb" ] || { echo "there is no contract in $contract; run: make contract" >&2; exit 1; }

rm -rf build
mkdir -p build/src/grounds.local/contract
# The descriptor set, not the sources: those need protoc 22, and Debian 12 has an older one.
files=$(cd "$contract/proto" && echo grounds/{credit,churn,customer,explain}/v1/*.proto buf/validate/*.proto)
types=google.golang.org/genproto/googleapis/type
options=module=grounds.local/contract,Mbuf/validate/validate.proto=grounds.local/contract/validate
options+=,Mgoogle/type/date.proto=$types/date,Mgoogle/type/money.proto=$types/money
protoc --descriptor_set_in="$contract/grounds.binpb" --go_out=build/src/grounds.local/contract --go_opt="$options" \
  --go-grpc_out=build/src/grounds.local/contract --go-grpc_opt="$options" $files
# Debian's libraries are folders of a GOPATH, so the example is built without modules.
GO111MODULE=off GOPATH="$PWD/build:/usr/share/gocode" go build -o build/client .
