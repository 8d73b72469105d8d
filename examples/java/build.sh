#!/usr/bin/env bash
# Generates the classes of the contract and compiles the example with Debian's packages; see README.md.
set -euo pipefail
cd "$(dirname "$0")"
contract=${GROUNDS_CONTRACT:-../../dist/contract}
for tool in javac protoc grpc_java_plugin; do
  command -v "$tool" >/dev/null || { echo "the Java example needs $tool; see examples/java/README.md" >&2; exit 1; }
done
[ -f "$contract/grounds.binpb" ] || { echo "there is no contract in $contract; run: make contract" >&2; exit 1; }

rm -rf build
mkdir -p build/generated build/classes build/native
# Debian's Netty has TLS with ALPN only through OpenSSL, and looks for a library whose name has an underscore.
cp "$(dpkg -L libnetty-tcnative-jni | grep '\.so$')" build/native/libnetty_tcnative.so
# The descriptor set, not the sources: those need protoc 22, and Debian 12 has an older one.
files=$(cd "$contract/proto" && echo grounds/{credit,churn,customer,explain}/v1/*.proto buf/validate/*.proto google/{rpc,type}/*.proto)
protoc --descriptor_set_in="$contract/grounds.binpb" --java_out=build/generated \
  --plugin=protoc-gen-grpc-java="$(command -v grpc_java_plugin)" --grpc-java_out=build/generated $files
find build/generated src -name '*.java' > build/sources
javac -nowarn -Xlint:none -d build/classes -cp "$(./classpath.sh)" @build/sources
