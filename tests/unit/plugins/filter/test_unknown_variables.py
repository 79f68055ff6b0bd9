# Copyright (c) 2026, controlplane.etcd authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter unknown_variables: mistyped names are told, everybody else's are let be."""

from __future__ import annotations

import pytest

from ansible_collections.controlplane.etcd.plugins.filter.unknown_variables import FilterModule

unknown_variables = FilterModule().filters()["unknown_variables"]

KNOWN = ["etcd_rotate_release", "etcd_rotate_retention"]
SHARED = ["etcd_cluster", "etcd_archive", "etcd_signing_key", "etcd_recipients"]
# Of kubespray's roles etcd, etcd_defaults and kubernetes, and of an inventory of one's own.
OTHERS = [
    "etcd_access_address",
    "etcd_access_addresses",
    "etcd_address",
    "etcd_backup_retention_count",
    "etcd_binary_checksums",
    "etcd_cert_dir",
    "etcd_cert_group",
    "etcd_client_url",
    "etcd_compaction_retention",
    "etcd_config_dir",
    "etcd_data_dir",
    "etcd_deployment_type",
    "etcd_download_url",
    "etcd_election_timeout",
    "etcd_events_access_addresses",
    "etcd_events_cluster_enabled",
    "etcd_events_cluster_setup",
    "etcd_events_data_dir",
    "etcd_experimental_initial_corrupt_check",
    "etcd_extra_vars",
    "etcd_group",
    "etcd_heartbeat_interval",
    "etcd_hosts",
    "etcd_image_repo",
    "etcd_image_tag",
    "etcd_kubeadm_enabled",
    "etcd_listen_metrics_urls",
    "etcd_member_name",
    "etcd_memory_limit",
    "etcd_metrics",
    "etcd_owner",
    "etcd_peer_addresses",
    "etcd_peer_client_auth",
    "etcd_peer_url",
    "etcd_quota_backend_bytes",
    "etcd_retries",
    "etcd_script_dir",
    "etcd_secure_client",
    "etcd_snapshot_count",
    "etcd_supported_versions",
    "etcd_unsupported_arch",
    "etcd_version",
    "etcd_clusters",
    "etcd_instances",
    "etcd_host",
    "etcd_endpoint",
    "etcd_archive_checksum",
    "etcd_archive_url",
    "etcd_key_file",
]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("etcd_retension", "etcd_retention"),
        ("etcd_retentions", "etcd_retention"),
        ("etcd_recipient", "etcd_recipients"),
        ("etcd_identites", "etcd_identities"),
        ("etcd_alowed_signers", "etcd_allowed_signers"),
        ("etcd_signing_keys", "etcd_signing_key"),
        ("etcd_archvie", "etcd_archive"),
    ],
)
def test_unknown_variables_close_to_a_shared_one_that_is_not_set_is_told(
    name: str, meant: str
) -> None:
    given = [name, *(each for each in SHARED if each != meant), *OTHERS]
    assert unknown_variables(given, "etcd_rotate", KNOWN) == [f"{name} ({meant}?)"]
    # Where the right one is set, another is somebody's own.
    assert unknown_variables([*given, meant], "etcd_rotate", KNOWN) == []


def test_unknown_variables_of_the_role_itself_are_told_with_what_is_meant() -> None:
    given = ["etcd_rotate_releese", "etcd_rotate_colour", *KNOWN, *SHARED]
    assert unknown_variables(given, "etcd_rotate", KNOWN) == [
        "etcd_rotate_colour",
        "etcd_rotate_releese (etcd_rotate_release?)",
    ]
    assert unknown_variables(given, "etcd_drill", []) == []


def test_unknown_variables_of_others_are_let_be() -> None:
    others = [name for name in OTHERS if not name.startswith("etcd_backup_")]
    for role in ("etcd_backup", "etcd_cert_check", "etcd_drill", "etcd_rotate"):
        assert unknown_variables(others, role, []) == []
    assert unknown_variables(OTHERS, "etcd_backup", []) == ["etcd_backup_retention_count"]
