#!/usr/bin/python
# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_cert_check
short_description: Find what will stop a control plane over its certificates
description:
  - Looks at everything on a control-plane host that carries a certificate, and tells what is wrong with it and what to do.
    Files are found as M(controlplane.etcd.etcd_kit) finds them, by what manifests, units, kubeconfigs and configuration
    files reference and by the layout's usual places. Certificates inside kubeconfigs, and the files that these point to, are
    looked at too.
  - Then it shakes hands by TLS with what the host serves, etcd's client and peer ports, the API server and the kubelet, and
    compares what it is shown with the file on disk. It sends no request, and trusts nothing that it is shown.
  - Findings are about expiry, validity that has not begun, a CA that ends before what it issued, chains, kubeconfigs that
    trust another CA than the API server's, log in as nobody or as another component, keys that do not match, cannot be
    read or can be read by others, DER where programs read PEM only, names and addresses that a certificate lacks,
    extended key usage, weak keys and signatures, renewed files that were never loaded,
    CA keys where they must not be, and the clock.
  - Also runs on the controller, with the results of several hosts in O(reports), to compare what should be the same on all
    hosts of a cluster, and to show everything in one table.
  - Nothing is changed. Keys are read to see which certificate they belong to, and nothing of them is returned.
version_added: 0.1.0
author:
  - controlplane.etcd authors (@controlplane)
options:
  paths:
    description:
      - Files and folders to look at, from the root of the host. If omitted or empty, what the host's layout has. If given,
        only these, and what kubeconfigs and manifests among them point to. Nothing is looked up of what the host serves
        then, but for O(endpoints).
      - V(/), V(/proc), V(/sys), V(/dev) and what lies below the latter are refused. At most 50000 entries of folders and
        5000 files are looked at; a critical finding says so if there are more.
    type: list
    elements: path
    default: []
  served:
    description: Whether to look at what the host serves, by its manifests and configuration.
    type: bool
    default: true
  endpoints:
    description:
      - More endpoints to look at, as in V(10.0.0.10:6443), V([fd00::10]:6443) or V(https://k8s-api.example.com:6443).
    type: list
    elements: str
    default: []
  timeout:
    description: How long an endpoint may take, as in V(5s). All are asked at the same time.
    type: str
    default: 5s
  warn_days:
    description: A certificate that ends within so many days is a warning.
    type: int
    default: 30
  fail_days:
    description: A certificate that ends within so many days is critical.
    type: int
    default: 7
  fail_on:
    description:
      - How bad a finding must be for the task to fail. V(warning) fails on critical findings, too.
      - All return values are there even if it fails.
    type: str
    choices: [critical, warning, never]
    default: critical
  ca_key_on_host:
    description:
      - Whether private keys of certificate authorities may lie on the host, as kubeadm leaves them. With V(forbid) each one
        is a finding.
    type: str
    choices: [allow, forbid]
    default: allow
  controller_time:
    description:
      - The time of the controller, in RFC 3339, that the host's clock is compared with. If omitted, the clock is not looked
        at.
      - How long the task takes to start on the host counts as a difference.
    type: str
  max_clock_skew:
    description: How far a host's clock may be off.
    type: str
    default: 30s
  query:
    description: JMESPath expression that is applied to RV(certificates); what it gives is RV(query_result). A blank one is as none.
    type: str
  reports:
    description:
      - What this module returned on several hosts, as a dictionary by host. If given, nothing is looked at here. The reports
        are compared and shown together. RV(certificates) and RV(served) are not needed in them.
      - The report of a host that failed or could not be reached is what Ansible registered of it, with C(msg) and C(failed)
        or C(unreachable). That is a critical finding, since the host was not looked at.
    type: dict
  clusters:
    description:
      - With O(reports), which cluster each host belongs to, as a dictionary by host. Only hosts of the same cluster are
        compared. If omitted, all are of one.
    type: dict
    default: {}
notes:
  - What is served follows the file on disk without a restart in etcd, which reads its certificate and key at each handshake,
    and in the API server, which looks for new ones every minute, the kubelet too from Kubernetes 1.36 on. A certificate that
    was renewed and is not served is a finding in all of them.
  - Etcd reads the authorities that it trusts at its start only. So does the API server with those of etcd and with the
    service accounts' keys, and the controller manager and the scheduler with their kubeconfigs. No handshake can tell this,
    so the time of such a file is compared with the start of the program that reads it.
  - The previous certificates that a kubelet keeps beside C(kubelet-client-current.pem) are not looked at.
  - A certificate in the control plane's folders that nothing references, and that has no name that kubeadm knows, is looked
    at, but is never more than a warning, and RV(soonest) passes it over.
  - etcd logs a handshake in which no client certificate is shown as rejected. The member's own certificate is shown to it
    where it can be read.
seealso:
  - module: controlplane.etcd.etcd_kit
  - module: controlplane.etcd.etcd_archive_info
    description: Tells which certificates of an archive will have expired by the day it is restored.
extends_documentation_fragment:
  - controlplane.etcd._attributes
  - controlplane.etcd._attributes.info_module
  - controlplane.etcd._layout
attributes:
  platform:
    support: full
"""

EXAMPLES = r"""
- name: Look at every certificate of a control-plane host, and fail if one ends within a week
  controlplane.etcd.etcd_cert_check:

- name: Know them all, without failing
  controlplane.etcd.etcd_cert_check:
    fail_on: never
    warn_days: 60
  register: checked

- name: Have half a year left
  ansible.builtin.assert:
    that: checked.days_left > 180
    fail_msg: "{{ checked.soonest.where }} ends on {{ checked.soonest.not_after }}"

- name: Look at a load balancer and at somebody's kubeconfig
  controlplane.etcd.etcd_cert_check:
    paths:
      - /home/ci/.kube/config
    endpoints:
      - k8s-api.example.com:6443

- name: Bring the hosts of a cluster together, compared and in one table
  controlplane.etcd.etcd_cert_check:
    reports: "{{ dict(ansible_play_hosts | zip(ansible_play_hosts | map('extract', hostvars, 'checked'))) }}"
  run_once: true
  delegate_to: localhost
  become: false

- name: List what ends within two months
  controlplane.etcd.etcd_cert_check:
    fail_on: never
    query: "[?days_left < `60`].[path, field, not_after]"

- name: Have no CA key on control-plane hosts, and a clock within ten seconds of the controller's
  controlplane.etcd.etcd_cert_check:
    ca_key_on_host: forbid
    controller_time: "{{ '%Y-%m-%dT%H:%M:%SZ' | ansible.builtin.strftime(now(utc=true).timestamp(), utc=true) }}"
    max_clock_skew: 10s
"""

RETURN = r"""
layout:
  description: The layout found, V(kubeadm) too for a control-plane host without an etcd member. Empty with O(paths).
  type: str
  returned: success and O(reports) is not given
  sample: kubeadm
certificates:
  description:
    - Every certificate that was looked at, the one that ends first first. An authority inside a kubeconfig is
      listed only if no file of the host holds it.
  type: list
  elements: dict
  returned: success and O(reports) is not given
  contains:
    name:
      description: kubeadm's name of the file, whatever the layout calls it; null for a file that somebody made up.
      type: str
      sample: apiserver.crt
    path:
      description: The file.
      type: str
      sample: /etc/kubernetes/pki/apiserver.crt
    field:
      description: Where in a kubeconfig it is; null for a file of its own.
      type: str
      sample: users[kubernetes-admin].client-certificate-data
    subject:
      description: Whom it is for, as RFC 4514 writes it.
      type: str
      sample: CN=kube-apiserver
    issuer:
      description: Who signed it.
      type: str
      sample: CN=kubernetes
    serial:
      description: Its serial number, lower-case hex.
      type: str
      sample: 5a1d2c1e9b5b4e3d
    dns_names:
      description: Names that it holds for.
      type: list
      elements: str
      sample: [cp1, kubernetes, kubernetes.default]
    addresses:
      description: IP addresses that it holds for.
      type: list
      elements: str
      sample: [10.96.0.1, 10.0.0.11]
    not_before:
      description: From when on it holds.
      type: str
      sample: "2026-11-23T14:50:00Z"
    not_after:
      description: Until when it holds.
      type: str
      sample: "2027-11-23T14:50:00Z"
    days_left:
      description: Whole days until then; negative once it has expired.
      type: int
      sample: 364
    is_ca:
      description: Whether it may sign certificates.
      type: bool
      sample: false
    usages:
      description: Extended key usages, V(server), V(client) or a dotted OID; null where it has no such extension.
      type: list
      elements: str
      sample: [server]
    key_algorithm:
      description: The kind of its key.
      type: str
      sample: RSA
    key_bits:
      description: The size of its key; null where that says nothing (Ed25519).
      type: int
      sample: 2048
    fingerprint:
      description: Its sha256, lower-case hex.
      type: str
      sample: 98439811a9893a0d384ab6bbae6f477eb78523dfd735951d3cf7a1b56b9105e4
    role:
      description: What it is for, by kubeadm's table; null if that is not known.
      type: str
      sample: apiserver
    used:
      description: Whether it has a name that kubeadm knows, or something that was found on the host reads it.
      type: bool
      sample: true
    state:
      description: V(ok), V(expires_soon), V(expired) or V(not_yet_valid).
      type: str
      sample: ok
findings:
  description: What is wrong, worst first.
  type: list
  elements: dict
  returned: success
  contains:
    kind:
      description:
        - What it is about. V(expired), V(not_yet_valid), V(expires_soon), V(ca_ends_first), V(chain), V(key_mismatch),
          V(key_missing), V(key_readable), V(key_encrypted), V(names_missing), V(usage), V(weak_key), V(weak_signature),
          V(not_loaded), V(not_served), V(ca_key_on_host), V(clock_off), V(unreadable), V(kubeconfig), V(missing),
          V(hosts_differ) or V(not_looked_at).
      type: str
      sample: expires_soon
    severity:
      description: V(critical), V(warning) or V(info).
      type: str
      sample: critical
    subject:
      description: The certificate's subject, or the name of what it is about.
      type: str
      sample: CN=kube-apiserver
    where:
      description: The file (and the field in it), or the endpoint.
      type: str
      sample: /etc/kubernetes/pki/apiserver.crt
    message:
      description: What is wrong.
      type: str
      sample: It ends on 2026-11-27T14:50:00Z, in 3 days; fail_days is 7.
    action:
      description: What to do.
      type: str
      sample: >-
        Renew it: kubeadm certs renew apiserver. Restart kube-apiserver: mv /etc/kubernetes/manifests/kube-apiserver.yaml
        /root/, wait 20 s, move it back.
    name:
      description: kubeadm's name of the file; null where there is none.
      type: str
      sample: apiserver.crt
    days_left:
      description: Whole days until the certificate ends; null where that is not what it is about.
      type: int
      sample: 3
    hosts:
      description: The hosts that it is about.
      type: list
      elements: str
      returned: O(reports) is given
      sample: [cp1]
served:
  description: What endpoints showed.
  type: list
  elements: dict
  returned: success and O(reports) is not given
  contains:
    endpoint:
      description: The endpoint.
      type: str
      sample: https://127.0.0.1:2379
    role:
      description: Whose certificate is served there; null for one of O(endpoints).
      type: str
      sample: etcd/server
    path:
      description: The file that it was compared with; null where none is known.
      type: str
      sample: /etc/kubernetes/pki/etcd/server.crt
    subject:
      description: Whom the certificate is for; null where none was seen.
      type: str
      sample: CN=cp1
    fingerprint:
      description: Its sha256, lower-case hex; null where none was seen.
      type: str
      sample: 98439811a9893a0d384ab6bbae6f477eb78523dfd735951d3cf7a1b56b9105e4
    not_after:
      description: Until when it holds; null where none was seen.
      type: str
      sample: "2027-11-23T14:50:00Z"
    state:
      description:
        - V(loaded) if it is the one on disk, V(not_loaded) if that is another one, V(not_on_disk) if there is none to
          compare with, or why none was seen.
      type: str
      sample: loaded
soonest:
  description: The certificate in use that ends first, a CA or not; null if there is none.
  type: dict
  returned: success
  contains:
    name:
      description: kubeadm's name of the file; null where there is none.
      type: str
      sample: apiserver.crt
    where:
      description: The file, and the field in it.
      type: str
      sample: /etc/kubernetes/pki/apiserver.crt
    subject:
      description: Whom it is for.
      type: str
      sample: CN=kube-apiserver
    not_after:
      description: Until when it holds.
      type: str
      sample: "2026-11-27T14:50:00Z"
    days_left:
      description: Whole days until then.
      type: int
      sample: 3
    host:
      description: The host that has it.
      type: str
      returned: O(reports) is given
      sample: cp1
days_left:
  description: The days left of RV(soonest).
  type: int
  returned: success
  sample: 3
counts:
  description: How many findings there are of each severity, and how many certificates were looked at.
  type: dict
  returned: success
  contains:
    critical:
      description: Critical findings.
      type: int
      sample: 1
    warning:
      description: Warnings.
      type: int
      sample: 0
    info:
      description: What is only worth knowing.
      type: int
      sample: 0
    certificates:
      description: Certificates.
      type: int
      sample: 17
shared:
  description:
    - Fingerprints of what all control-plane hosts of a cluster share, null for what this host lacks. Of the certificates
      C(ca), C(etcd/ca), C(front-proxy-ca), and those that only k3s and rke2 have, C(client-ca) and C(etcd/peer-ca). C(sa)
      is of the service accounts' public key. C(encryption-config) is a slow hash of the configuration, for comparing only.
  type: dict
  returned: success and O(reports) is not given
  sample:
    ca: 98439811a9893a0d384ab6bbae6f477eb78523dfd735951d3cf7a1b56b9105e4
    encryption-config: null
clock_skew_seconds:
  description: How far the host's clock is ahead of O(controller_time), negative if behind; null if that was not given.
  type: int
  returned: success and O(reports) is not given
  sample: 1
query_result:
  description: What O(query) gives.
  type: raw
  returned: success and O(query) is given
  sample: [[/etc/kubernetes/pki/apiserver.crt, null, "2026-11-27T14:50:00Z"]]
lines:
  description: A table of all hosts, worst first.
  type: list
  elements: str
  returned: success and O(reports) is given
  sample:
    - "SEVERITY  HOST  WHAT           DAYS  WHERE"
    - "critical  cp1   apiserver.crt     3  /etc/kubernetes/pki/apiserver.crt"
    - "          It ends on 2026-11-27T14:50:00Z, in 3 days; fail_days is 7."
    - "          Do: Renew it: kubeadm certs renew apiserver. Restart kube-apiserver: mv"
    - "              /etc/kubernetes/manifests/kube-apiserver.yaml /root/, wait 20 s, move it back."
    - ""
    - "HOST  CERTIFICATES  CRITICAL  WARNING  DAYS  ENDS FIRST"
    - "cp1             16         1        -     3  apiserver.crt"
    - ""
    - "16 certificates on 1 host: 1 critical, 0 warnings."
error:
  description: What failed, with a stable C(kind) to branch on. V(certificates) if it failed over findings; all other values are there then.
  type: dict
  returned: failure
  sample: {"kind": "certificates"}
"""

import typing as t

from ansible_collections.controlplane.etcd.plugins.module_utils import _query, _time
from ansible_collections.controlplane.etcd.plugins.module_utils._argspec import (
    duration,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._argspec_member import (
    LAYOUT,
    layout_from_params,
)
from ansible_collections.controlplane.etcd.plugins.module_utils._cert_check import check, merge
from ansible_collections.controlplane.etcd.plugins.module_utils._module import Call, Outcome, run

ARGUMENT_SPEC: dict[str, t.Any] = {
    **LAYOUT,
    "paths": {"type": "list", "elements": "path", "default": []},
    "served": {"type": "bool", "default": True},
    "endpoints": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "str", "default": "5s"},
    "warn_days": {"type": "int", "default": 30},
    "fail_days": {"type": "int", "default": 7},
    "fail_on": {
        "type": "str",
        "choices": ["critical", "warning", "never"],
        "default": "critical",
    },
    "ca_key_on_host": {
        "type": "str",
        "choices": ["allow", "forbid"],
        "default": "allow",
        "no_log": False,
    },
    "controller_time": {"type": "str"},
    "max_clock_skew": {"type": "str", "default": "30s"},
    "query": {"type": "str"},
    "reports": {"type": "dict"},
    "clusters": {"type": "dict", "default": {}},
}


def needs(params: t.Mapping[str, t.Any]) -> list[str]:
    """Return what the options need."""
    if params["reports"] is not None:
        return []
    return ["cryptography", "yaml", *(["jmespath"] if _query.given(params["query"]) else [])]


def cert_check(call: Call) -> Outcome:
    """Look at this host, or bring several hosts' reports together."""
    params = call.params
    skew = duration(params, "max_clock_skew")
    if params["reports"] is not None:
        answer = merge.together(
            params["reports"],
            clusters=params["clusters"],
            max_clock_skew=skew,
            fail_on=params["fail_on"],
        )
        return Outcome(answer.result, failed=answer.failed)
    layout = layout_from_params(params)
    answer = check.check(
        check.Options(
            layout=layout.kind,
            certificates_dir=layout.certificates_dir,
            static_pod_path=layout.static_pod_path,
            data_dir=layout.data_dir,
            paths=tuple(params["paths"]),
            served=params["served"],
            endpoints=tuple(params["endpoints"]),
            timeout=duration(params, "timeout"),
            warn_days=params["warn_days"],
            fail_days=params["fail_days"],
            fail_on=params["fail_on"],
            ca_key_forbidden=params["ca_key_on_host"] == "forbid",
            controller_time=params["controller_time"],
            max_clock_skew=skew,
            query=_query.given(params["query"]),
        ),
        now=_time.now(),
    )
    return Outcome(answer.result, failed=answer.failed)


def main() -> None:
    """Run the module."""
    run(ARGUMENT_SPEC, cert_check, needs=needs)


if __name__ == "__main__":
    main()
