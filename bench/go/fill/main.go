// Copyright (c) 2026, controlplane.etcd authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command fill writes Kubernetes-like objects into an etcd: as many as asked, and then a little
// history (1 % deleted again, 5 % rewritten, half of that compacted), as a live cluster has it.
package main

import (
	"context"
	"flag"
	"log"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"controlplane.etcd/bench/dial"
)

const (
	workers  = 6
	maxOps   = 128       // etcd's --max-txn-ops
	maxBytes = 1_000_000 // below etcd's --max-request-bytes
)

// each gives every index below count to put, in the transactions of a few workers at once.
func each(clients []*clientv3.Client, count int, index func(int) int, operation func(int) clientv3.Op) {
	var group sync.WaitGroup
	for number, client := range clients {
		group.Add(1)
		go func() {
			defer group.Done()
			var ops []clientv3.Op
			size := 0
			send := func() {
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
				defer cancel()
				if _, err := client.Txn(ctx).Then(ops...).Commit(); err != nil {
					log.Fatal(err)
				}
				ops, size = nil, 0
			}
			for i := number; i < count; i += len(clients) {
				op := operation(index(i))
				length := len(op.KeyBytes()) + len(op.ValueBytes())
				if len(ops) == maxOps || len(ops) > 0 && size+length > maxBytes {
					send()
				}
				ops = append(ops, op)
				size += length
			}
			if len(ops) > 0 {
				send()
			}
		}()
	}
	group.Wait()
}

func main() {
	count := flag.Int("objects", 1000, "objects that are left at the end")
	value := flag.Int("value", 1500, "mean size of a value, of one half to one and a half of it")
	flag.Parse()
	clients, err := dial.Clients(workers)
	if err != nil {
		log.Fatal(err)
	}
	objects := newMaker(*value)
	same := func(i int) int { return i }
	put := func(i int) clientv3.Op { return clientv3.OpPut(objects.key(i), string(objects.value(i, 0))) }
	again := func(i int) clientv3.Op { return clientv3.OpPut(objects.key(i), string(objects.value(i, 1))) }
	drop := func(i int) clientv3.Op { return clientv3.OpDelete(objects.key(i)) }

	extra := *count / 100
	each(clients, *count+extra, same, put)
	each(clients, extra, func(i int) int { return *count + i }, drop)
	rewrites := *count / 20
	each(clients, rewrites/2, func(i int) int { return i * 20 }, again)
	now, err := clients[0].Get(context.Background(), "compact-here", clientv3.WithCountOnly())
	if err != nil {
		log.Fatal(err)
	}
	each(clients, rewrites-rewrites/2, func(i int) int { return (rewrites/2 + i) * 20 }, again)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if _, err := clients[0].Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		log.Fatal(err)
	}
}
