#!/usr/bin/env bash
# Prints the libraries of the example, as Debian installs them, as a class path.
set -euo pipefail
jars=(
  grpc-{api,context,core,netty,protobuf,protobuf-lite,stub} protobuf guava gson geronimo-annotation-1.3-spec perfmark-api
  netty-{buffer,codec,codec-http,codec-http2,codec-socks,common,handler,handler-proxy,resolver,tcnative,transport}
)
for jar in "${jars[@]}"; do
  [ -f "/usr/share/java/$jar.jar" ] || { echo "the Java example needs $jar.jar; see examples/java/README.md" >&2; exit 1; }
  printf '/usr/share/java/%s.jar:' "$jar"
done
