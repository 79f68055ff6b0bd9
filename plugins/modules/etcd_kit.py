#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_kit
short_description: Take what etcd does not hold from a control-plane host, sealed
description:
  - Collects the files that a control plane cannot come back without and that are not in etcd, and seals them on the host
    into a folder. These are the PKI with the service accounts' key pair, kubeconfigs, kubelet configuration and bootstrap
    state, static pod manifests, kubeadm's configuration, the encryption-at-rest configuration, and the admission, audit,
    authentication, authorization, egress and tracing files of the API server.
  - Files are found by following what the manifests of all static pods, systemd units, kubeconfigs and configuration files
    reference, from the container's path to the host's, and by a list of each layout's usual places.
  - Two parts are sealed apart, each with its own recipients. V(encryption) holds the encryption-at-rest configuration, the
    same on every host of a cluster. V(pki) holds all the rest, the service accounts' key too.
  - Nothing is ever written in clear. A part is a tar that depends on the files alone, inside zstd, inside age, with an
    C(index.json) as its first member.
  - A file that is referenced but cannot be taken is listed as missing and warned of. The module fails if nothing at all
    can be taken.
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane)
options:
  dest_dir:
    description:
      - Folder on the host for the sealed files C(pki-NAME.tar.zst.age) and C(encryption.tar.zst.age). It must exist.
      - The files get mode 0600 and the owner of this folder.
    type: path
    required: true
  name:
    description:
      - What this host is called in the archive, part of a file's name. Letters, digits, dot, dash and underscore.
      - If omitted, the host's own name up to the first dot.
    type: str
  recipients:
    description:
      - Public keys that can open the files, age X25519 (C(age1…)), C(ssh-ed25519) or C(ssh-rsa).
      - A list for both parts, or a dictionary with a list for each of V(encryption) and V(pki). Its list V(data), which
        M(controlplane.etcd.etcd_snapshot) uses, is ignored here.
    type: raw
  allow_unsealed:
    description: Whether a part without O(recipients) is written compressed only. Otherwise it is refused.
    type: bool
    default: false
  include_ca_keys:
    description:
      - Whether to take the private keys of certificate authorities, known by their names and by the certificates that they
        belong to. Without them a control plane that was lost altogether needs new authorities.
      - The key of the service accounts is none of them, and is always taken.
    type: bool
    default: true
  extra_paths:
    description:
      - More files and folders of the host to take. Links may lead into them.
    type: list
    elements: path
    default: []
  exclude:
    description:
      - Shell patterns of absolute paths that are left out, as in V(/etc/containerd/certs.d/*). A C(*) matches C(/) too.
    type: list
    elements: str
    default: []
notes:
  - Links are kept as links, and what they lead to is taken if it lies in the control plane's folders or is referenced.
    Sockets, devices and FIFOs are never opened. Files above 16 MiB are left out with a warning.
  - Programs are not taken, such as the binaries that kubeconfigs run to get credentials.
  - Owner, mode and time (whole seconds) of files, folders and links are kept. SELinux labels, ACLs and extended attributes
    are not, C(restorecon) sets the labels anew.
  - C(tar -xpf KIT --anchored --exclude=index.json -C /) puts an opened kit back.
seealso:
  - module: controlplane.etcd.etcd_snapshot
  - module: controlplane.etcd.etcd_archive_add
extends_documentation_fragment:
  - controlplane.etcd._attributes
  - controlplane.etcd._layout
attributes:
  check_mode:
    support: full
    details: Returns the list of files and the size of each part in RV(contents) and RV(files), and writes nothing.
  diff_mode:
    support: N/A
    details: Nothing that was there before is changed.
  idempotent:
    support: N/A
    details: Each call writes the files anew. Sealing the same files twice gives different bytes.
  platform:
    support: full
"""

EXAMPLES = r"""
- name: Take the kit of a control-plane host, its CA keys included
  controlplane.etcd.etcd_kit:
    dest_dir: /var/tmp/etcd-kit
    name: "{{ inventory_hostname }}"
    recipients:
      - age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
      - age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg
  register: kit

- name: Seal both parts to different people, and leave the CA keys where they are
  controlplane.etcd.etcd_kit:
    dest_dir: /var/tmp/etcd-kit
    name: "{{ inventory_hostname }}"
    recipients:
      encryption: ["{{ drill_recipient }}", "{{ escrow_recipient }}"]
      pki: ["{{ escrow_recipient }}"]
    include_ca_keys: false

- name: See what would be taken
  controlplane.etcd.etcd_kit:
    dest_dir: /var/tmp/etcd-kit
    recipients: "{{ etcd_recipients }}"
    extra_paths:
      - /etc/haproxy
  check_mode: true
  register: plan

- name: Be sure that Secrets and tokens can be read after a restore
  ansible.builtin.assert:
    that:
      - "'sa.key' in kit.kit.present"
      - "'encryption-config' not in kit.kit.missing"
      - kit.kit.damaged | length == 0
"""

RETURN = r"""
name:
  description: What the host is called in the archive.
  type: str
  returned: success
  sample: cp1
layout:
  description: The layout found, V(kubeadm) too for a control-plane host without an etcd member.
  type: str
  returned: success
  sample: kubeadm
kit:
  description: What the kit holds and lacks, by standard names only. They are kubeadm's names, whatever the layout calls its files.
  type: dict
  returned: success
  contains:
    present:
      description: Files taken.
      type: list
      elements: str
      sample: [admin.conf, apiserver.crt, ca.crt, ca.key, encryption-config, etcd/ca.crt, etcd/server.key, sa.key]
    missing:
      description: Files that something references, or that are usual, and that could not be taken.
      type: list
      elements: str
      sample: [audit-policy]
    excluded:
      description: Files left out by O(include_ca_keys) and O(exclude).
      type: list
      elements: str
      sample: [ca.key, etcd/ca.key, front-proxy-ca.key]
    damaged:
      description:
        - Files among RV(kit.present) that bring nothing back. They are empty or can't be read as what they are, or they do not
          belong to the files beside them, as a key whose certificate or public half is another one's, an authority that issued
          none of the host's certificates, or an encryption-at-rest configuration with a key that no API server takes.
        - They are taken as they are, and each is warned of. What has merely expired is not among them.
      type: list
      elements: str
      sample: []
files:
  description: The parts, one file each. A part with no files is not written.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: The file's name in an archive's entry.
      type: str
      sample: pki/cp1.tar.zst.age
    path:
      description: Where it lies on the host.
      type: str
      returned: not in check mode
      sample: /var/tmp/etcd-kit/pki-cp1.tar.zst.age
    part:
      description: V(encryption) or V(pki).
      type: str
      sample: pki
    size_bytes:
      description: The sealed file.
      type: int
      returned: not in check mode
      sample: 15032
    clear_size_bytes:
      description: The tar, before it is compressed and sealed.
      type: int
      returned: in check mode
      sample: 92160
    sha256:
      description: Lower-case hex sha256 of the sealed file.
      type: str
      returned: not in check mode
      sample: 98439811a9893a0d384ab6bbae6f477eb78523dfd735951d3cf7a1b56b9105e4
    compression:
      description: How it is compressed.
      type: str
      returned: not in check mode
      sample: zstd
    encryption:
      description: How it is sealed (V(age), or V(none) if unsealed) and who can open it.
      type: dict
      returned: not in check mode
      sample: {"scheme": "age", "recipients": ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]}
contents:
  description: What would be taken, file by file, with the flag or file that references it.
  type: list
  elements: dict
  returned: in check mode
  sample:
    - path: /etc/kubernetes/pki/sa.key
      names: [sa.key]
      part: pki
      size_bytes: 1679
      why: [folder of the certificates, kube-apiserver.yaml --service-account-signing-key-file]
file_count:
  description: How many files the parts hold together.
  type: int
  returned: success
  sample: 40
certificates:
  description: When the certificates in files of standard names end, those embedded in kubeconfigs too.
  type: list
  elements: dict
  returned: success
  sample: [{"name": "apiserver.crt", "not_after": "2027-11-23T14:50:00Z"}]
encryption:
  description: Encryption at rest, as the API server's configuration says. Names only.
  type: dict
  returned: success
  contains:
    providers:
      description: The providers in their order, the first one encrypts.
      type: list
      elements: str
      sample: [aescbc, identity]
    key_names:
      description: The keys, as C(provider/name).
      type: list
      elements: str
      sample: [aescbc/key1]
kms_needed:
  description: Whether Secrets cannot be read without an external key service, whose key no kit can hold.
  type: bool
  returned: success
  sample: false
error:
  description: What failed, with a stable C(kind) to branch on.
  type: dict
  returned: failure
  sample: {"kind": "kit"}
"""

import socket
import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils._argspec_member import (
    LAYOUT,
    layout_from_params,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._kit import take
from ansible_collections.controlplane.etcd.plugins.module_utils._module import Call, Outcome, run

ARGUMENT_SPEC: dict[str, t.Any] = {
    **LAYOUT,
    "dest_dir": {"type": "path", "required": True},
    "name": {"type": "str"},
    "recipients": {"type": "raw"},
    "allow_unsealed": {"type": "bool", "default": False},
    "include_ca_keys": {"type": "bool", "default": True, "no_log": False},
    "extra_paths": {"type": "list", "elements": "path", "default": []},
    "exclude": {"type": "list", "elements": "str", "default": []},
}
NEEDS = ("cryptography", "pyrage", "yaml", "zstandard")


def kit(call: Call) -> Outcome:
    """Look what is here, and unless in check mode seal it."""
    params = call.params
    layout = layout_from_params(params)
    recipients = take.recipients(params["recipients"], allow_unsealed=params["allow_unsealed"])
    plan = take.plan(
        take.Options(
            host=params["name"] or socket.gethostname().split(".")[0],
            layout=layout.kind,
            certificates_dir=layout.certificates_dir,
            static_pod_path=layout.static_pod_path,
            data_dir=layout.data_dir,
            include_ca_keys=params["include_ca_keys"],
            extra_paths=tuple(params["extra_paths"]),
            exclude=tuple(params["exclude"]),
        )
    )
    if call.check_mode:
        result = {**take.record(plan, (), recipients), "contents": take.contents(plan)}
    else:
        written = take.write(plan, params["dest_dir"], recipients)
        result = take.record(plan, written, recipients)
    return Outcome(result, changed=True, warnings=plan.warnings)


def main() -> None:
    """Run the module."""
    run(ARGUMENT_SPEC, kit, needs=NEEDS)


if __name__ == "__main__":
    main()
