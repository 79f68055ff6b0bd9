# Copyright (c) 2026, controlplane.etcd authors
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
# SPDX-License-Identifier: BSD-2-Clause
"""RESTORE.txt's sections about hosts: their addresses, what is sent to them."""

from __future__ import annotations

import re
import shlex
import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.controlplane.etcd.plugins.module_utils._archive.manifest import (
        Manifest,
        Member,
    )

__all__ = ["addresses", "default", "host_variables", "kits", "plain", "quoted", "send"]

_URL_HOST = re.compile(r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]+)?$")
_MANIFESTS = "/etc/kubernetes/manifests"


def plain(text: str) -> str:
    """Return `text` without control characters: names come from the cluster."""
    return re.sub(r"[\x00-\x1f\x7f]", "?", text)


def quoted(text: str) -> str:
    """Return `text` as one word of a shell."""
    return shlex.quote(plain(text))


def default(name: str, value: str) -> str:
    """Return the line that sets a variable unless it is set."""
    return f"$ {name}=${{{name}:-{quoted(value)}}}"


def _address(member: Member) -> str | None:
    """Return the address in all peer URLs of a member; None where they differ."""
    found = [_URL_HOST.match(url) for url in member.peer_urls]
    hosts = {match[1] for match in found if match}
    return hosts.pop() if all(found) and len(hosts) == 1 else None


def host_variables(members: t.Sequence[Member]) -> list[str]:
    """Return the lines that say where each member is, and who takes part."""
    lines = [
        "# What the members are called and where they speak to each other. Other addresses now: set",
        "# ADDRESS_n. Hosts that are gone for good: leave their numbers out of MEMBERS.",
        default("MEMBERS", " ".join(str(number + 1) for number in range(len(members)))),
    ]
    for number, member in enumerate(members, start=1):
        layout = member.layout
        mount = ", a file system of its own" if layout and layout.data_dir_is_mount else ""
        data_dir = (layout and layout.data_dir) or "/var/lib/etcd"
        lines.append(f"# {number}: host {plain(member.host or 'unknown')}, member ID {member.id}")
        lines.append(default(f"NAME_{number}", member.name))
        address = _address(member)
        if address:
            urls = ",".join(member.peer_urls).replace(address, f"$ADDRESS_{number}")
            lines.append(default(f"ADDRESS_{number}", address))
            lines.append(f"$ PEER_{number}=${{PEER_{number}:-{urls}}}")
        else:
            lines.append(default(f"PEER_{number}", ",".join(member.peer_urls)))
        lines.append(f"# (etcd's data folder{mount})" if mount else "")
        lines.append(default(f"DATA_DIR_{number}", data_dir))
    return [
        *filter(None, lines),
        "$ INITIAL_CLUSTER=${INITIAL_CLUSTER:-$(for n in $MEMBERS; do name=NAME_$n peer=PEER_$n; \\",
        '$   printf %s ",${!name}=${!peer//,/,${!name}=}"; done)}; INITIAL_CLUSTER=${INITIAL_CLUSTER#,}',
        "",
    ]


# A certificate keeps its subject, usages and key; only the address changes. Long names of usages,
# as openssl prints them, are taken by -extfile too (openssl crypto/x509/v3_bitst.c, v3_extku.c).
_READDRESS = r"""
THEN= NOW=
moved() { # NUMBER OLD NEW
  test "$2" != "$3" || return 0
  for twice in 1 2; do
    THEN+="s/(^|[^0-9A-Za-z.-])${2//./[.]}([^0-9A-Za-z.-]|\$)/\1@$1@\2/g;"
  done
  NOW+="s/@$1@/$3/g;"
}
renew() { # CERTIFICATE
  was=$(openssl x509 -in "$1" -noout -ext subjectAltName 2>/dev/null | sed -n '2s/^ *//p') || true
  was=${was//IP Address:/IP:}; new=$(sed -E "$THEN$NOW" <<< "$was")
  test "$was" != "$new" || return 0
  key=${1%.*}.key; test -e "$key" || key=${1%.pem}-key.pem
  find "$OUT/pki" \( -name ca.crt -o -name ca.pem \) | while read -r ca; do
    ca_key=${ca%.*}.key; test -e "$ca_key" || ca_key=${ca%.pem}-key.pem
    test -e "$ca_key" || continue
    openssl verify -no_check_time -partial_chain -CAfile "$ca" "$1" > /dev/null 2>&1 || continue
    { echo "subjectAltName=$new"; echo "basicConstraints=critical,CA:FALSE"
      for name in keyUsage extendedKeyUsage; do
        usage=$(openssl x509 -in "$1" -noout -ext $name 2>/dev/null | sed -n '2s/^ *//p') || true
        test -z "$usage" || echo "$name=$usage"
      done; } > "$OUT/extensions"
    openssl x509 -x509toreq -in "$1" -signkey "$key" 2>/dev/null | openssl x509 -req -CA "$ca" \
      -CAkey "$ca_key" -set_serial "0x$(openssl rand -hex 8)" -days 365 -sha256 \
      -extfile "$OUT/extensions" > "$OUT/renewed" 2>/dev/null
    cat "$OUT/renewed" > "$1"; echo "issued anew: $1"; break
  done
  openssl x509 -in "$1" -noout -ext subjectAltName | sed 's/IP Address:/IP:/g' | grep -qF "$new" ||
    echo "NOT issued anew, the key of its CA is not in this entry: $1"
}
""".strip()
_READDRESS_ALL = r"""
test -z "$THEN" || find "$OUT/pki" -type f ! -name index.json | while read -r file; do
  case $file in *.crt|*.pem) renew "$file"; continue;; esac
  sed -E "$THEN$NOW" "$file" | cmp -s - "$file" ||
    { sed -E -i "$THEN$NOW" "$file"; echo "addresses set: $file"; }
done
""".strip()


def addresses(manifest: Manifest, members: t.Sequence[Member]) -> list[str]:
    """Return the section that gives opened kits other addresses; empty where there are none."""
    known = [(number, _address(member)) for number, member in enumerate(members, start=1)]
    if not any(file.part == "pki" for file in manifest.files):
        return []
    return [
        "==== [addresses] Other addresses than then? Files and certificates get them here, in $OUT",
        "# Does nothing where each ADDRESS_n is what it was. Certificates that name an old address are",
        "# issued anew by the CA of the kits: same subject, names, usages and key. It needs openssl.",
        *(f"$ {line}" for line in _READDRESS.splitlines()),
        *(
            f'$ moved {number} {quoted(address)} "$ADDRESS_{number}"'
            for number, address in known
            if address
        ),
        *(f"$ {line}" for line in _READDRESS_ALL.splitlines()),
        "# The API's own name or address, which must lead to the hosts that are there now (DNS, load",
        "# balancer, /etc/hosts; none of that is in a kit):",
        '$ grep -rhoE "server: *https://.*" "$OUT/pki" | sort | uniq -c || true',
        "",
    ]


def kits(manifest: Manifest) -> list[str]:
    """Return the section that says what the kits are and what a new host needs first."""
    lines = [
        "==== [hosts] What etcd does not hold: PKI, kubeconfigs, manifests, kubelet, encryption",
        "# Only where a host lost it, or is new. On a new host first: container runtime, kubelet and",
        "# kubeadm of the cluster's version, and the old host's name, under which the node is known.",
        "# STOP the kubelet there (systemctl stop kubelet): it would start what the manifests say, and",
        "# an API server on an empty etcd. They are put into parked/, not manifests/, until [start].",
        "# Never bring an identity to a host: what is sent was opened here.",
    ]
    if not any(file.part == "pki" for file in manifest.files):
        lines.append("# (No host's files are in this entry.)")
    for kit in manifest.kit:
        if kit.missing:
            lines.append(f"# Not in the kit of {plain(kit.host)}: {plain(', '.join(kit.missing))}")
    for host in manifest.cluster.missing_hosts:
        lines.append(
            f"# No kit of {plain(host)}: take another host's, and issue all but CAs and sa.* anew "
            "(kubeadm, see [otherwise])."
        )
    return [
        *lines,
        "# The same sa.key and sa.pub, CAs and encryption configuration have to stand on all hosts",
        "# before an API server starts: without the old encryption keys no Secret can be read.",
        "",
    ]


def send(manifest: Manifest, number: int, member: Member, *, tool: str) -> list[str]:
    """Return the section that brings a host its files, and what restores its member."""
    target = f"$ADDRESS_{number}" if _address(member) else quoted(member.host or "HOST")
    static = (member.layout and member.layout.static_pod_path) or _MANIFESTS
    park = f"s,^{re.escape(static.strip('/'))}/,{static.strip('/').rpartition('/')[0]}/parked/,"
    folders = [
        file.name.partition(".tar")[0]
        for file in manifest.files
        if file.part == "encryption" or (file.part == "pki" and file.host == member.host)
    ]
    unpack = "tar -x -p --same-owner --numeric-owner --no-overwrite-dir -f - -C /"
    lines = [
        f"==== [send {number}] To host {plain(member.host or 'unknown')}: its files, the snapshot, the tool",
        f"# SSH_{number} runs a command as root there. Is the host as it was? Then from TOKEN on.",
        f'$ SSH_{number}=${{SSH_{number}:-"ssh root@{target}"}}',
    ]
    for folder in map(quoted, folders):
        lines += [
            f'$ (cd "$OUT"/{folder} && tar --numeric-owner --transform {quoted(park)} -cf - \\',
            f"$   $(ls -A | grep -vx index.json)) | $SSH_{number} {unpack}",
        ]
    return [
        *lines,
        '$ : "${TOKEN:?set it to a word that no etcd cluster here ever had}"',
        f'$ cp "$(command -v "$TOOL")" "$OUT/{tool}"',
        f'$ declare -p TOKEN INITIAL_CLUSTER NAME_{number} PEER_{number} DATA_DIR_{number} > "$OUT/variables.sh"',
        f'$ $SSH_{number} mkdir -p -m 700 "$OUT"; tar -C "$OUT" -cf - snapshot.db {tool} variables.sh | \\',
        f'$   $SSH_{number} tar -x --no-same-owner -f - -C "$OUT"',
        "",
    ]
