#!/usr/bin/env bash
# build.sh DIR: makes the src.rpm and the rpm of this tree in DIR, of all that git does not ignore, as it is on the disk.
# The same tree gives the same bytes: all times are the commit's, and the place where it is built is fixed, since the
# src.rpm records it.
#
# VERSION is another version than pkg/version says. TOPDIR is another place; `make rpm` may run once at a time in it.
set -euo pipefail
out=$(realpath -m "$1")
cd "$(dirname "$0")/../.."

version=${VERSION:-$(pkg/version)}
commit=$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format='%H of %cd' 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC

top=${TOPDIR:-/tmp/salt-broker-rpmbuild}
rm -rf "$top"
mkdir -p "$top"/{SOURCES,SPECS,vendored} "$out"
trap 'chmod -R u+w "$top"; rm -rf "$top"' EXIT

# archive NAME TAR_ARGUMENTS...
archive() {
  tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" -c "${@:2}" |
    gzip -n >"$top/SOURCES/$1"
}

git ls-files -z --cached --others --exclude-standard --deduplicate | while IFS= read -rd '' file; do
  [ ! -e "$file" ] || printf '%s\0' "$file" # deleted and not committed
done >"$top/files"
archive "salt-broker-$version.tar.gz" --transform="s,^,salt-broker-$version/," --null --verbatim-files-from -T "$top/files"
go mod vendor -o "$top/vendored/vendor"
archive "salt-broker-$version-vendor.tar.gz" -C "$top/vendored" vendor

day=$(date -d "@$SOURCE_DATE_EPOCH" '+%a %b %d %Y')
sed -e "s/^\(%global version_of_tag \).*/\1$version/" -e "s/^\(%global commit_of_tag \).*/\1$commit/" \
  -e "s/^\* .* 20[0-9][0-9] \(.* - \)0.0.0-1$/* $day \1$version-1/" \
  pkg/rpm/salt-broker.spec >"$top/SPECS/salt-broker.spec"
# --nodeps: Debian has no packages of the names that the spec wants. mock looks at them.
rpmbuild -ba --quiet --nodeps -D "_topdir $top" "$top/SPECS/salt-broker.spec"
cp "$top"/RPMS/*/*.rpm "$top"/SRPMS/*.rpm "$out/"
