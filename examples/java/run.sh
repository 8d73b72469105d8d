#!/usr/bin/env bash
# Runs the example: run.sh [ADDRESS [MARKET CUSTOMER UNITS CURRENCY [CHURN_MARKET]]]
set -euo pipefail
cd "$(dirname "$0")"
exec java -Djava.library.path=build/native -cp "build/classes:$(./classpath.sh)" com.example.GroundsClient "$@"
