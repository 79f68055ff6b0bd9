// Copyright (c) 2026, controlplane.etcd authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package dial opens connections to one etcd member, each a TCP connection of its own.
package dial

import (
	"flag"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var (
	endpoint = flag.String("endpoint", "", "the member's client URL")
	cacert   = flag.String("cacert", "", "CA file")
	cert     = flag.String("cert", "", "client certificate file")
	key      = flag.String("key", "", "client key file")
)

// Clients returns count clients of the member that the flags name.
func Clients(count int) ([]*clientv3.Client, error) {
	info := transport.TLSInfo{TrustedCAFile: *cacert, CertFile: *cert, KeyFile: *key}
	tls, err := info.ClientConfig()
	if err != nil {
		return nil, err
	}
	clients := make([]*clientv3.Client, count)
	for i := range clients {
		clients[i], err = clientv3.New(clientv3.Config{
			Endpoints: []string{*endpoint}, TLS: tls, DialTimeout: 10 * time.Second,
		})
		if err != nil {
			return nil, err
		}
	}
	return clients, nil
}
