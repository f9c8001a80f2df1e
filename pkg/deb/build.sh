#!/usr/bin/env bash
# build.sh DIR: makes the Debian package of this tree in DIR, with nfpm, which NFPM names. The same tree gives the same bytes:
# all times are the commit's.
#
# VERSION is another version than pkg/version says.
set -euo pipefail
out=$(realpath -m "$1")
nfpm=$(realpath "$NFPM")
cd "$(dirname "$0")/../.."

VERSION=${VERSION:-$(pkg/version)}
commit=$(git rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
DEB_ARCH=$(go env GOARCH)
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
export VERSION SOURCE_DATE_EPOCH DEB_ARCH STAGE

CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION -X main.commit=$commit" \
  -o "$STAGE/salt-broker" ./cmd/salt-broker
"$STAGE/salt-broker" completion bash >"$STAGE/completion"
go mod vendor -o "$STAGE/vendor"
pkg/licenses "$STAGE/vendor" >"$STAGE/THIRD-PARTY-LICENSES"
for page in salt-broker.8 broker.5; do gzip -9nc "docs/man/$page" >"$STAGE/$page.gz"; done
touch -d "@$SOURCE_DATE_EPOCH" "$STAGE"/*
mkdir -p "$out"
"$nfpm" package --config pkg/deb/nfpm.yaml --packager deb --target "$out/"
