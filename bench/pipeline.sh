#!/usr/bin/env bash
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The peer: how a careful engineer backs etcd up to this machine, with ssh and the usual tools.
#   pipeline.sh SSH_CONFIG HOST REMOTE_DIR DEST ENDPOINT CACERT CERT KEY RECIPIENT RECIPIENT
set -euo pipefail
config=$1 host=$2 remote=$3 dest=$4
shift 4

ssh -F "$config" "$host" bash -s -- "$remote" "$@" <<'EOS'
set -euo pipefail
umask 077
mkdir "$1"
cd "$1"
trap 'rm -f data.db' EXIT
etcdctl --endpoints "$2" --cacert "$3" --cert "$4" --key "$5" snapshot save data.db
etcdutl snapshot status data.db
zstd -3 -q -c data.db | age -r "$6" -r "$7" -o data.db.zst.age
sha256sum data.db.zst.age > data.db.zst.age.sha256
EOS
scp -q -F "$config" "$host:$remote/data.db.zst.age" "$host:$remote/data.db.zst.age.sha256" "$dest/"
(cd "$dest" && sha256sum -c --quiet data.db.zst.age.sha256)
ssh -F "$config" "$host" rm -r "$remote"
