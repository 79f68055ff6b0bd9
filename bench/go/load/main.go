// Copyright (c) 2026, controlplane.etcd authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command load puts keys at a constant rate, whatever the answers take (an open loop), until its
// standard input ends. It prints a line a put: when it was to be sent (Unix time, microseconds), its
// latency from that moment in microseconds, and whether it failed (0 or 1).
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand"
	"os"
	"sync"
	"time"

	"controlplane.etcd/bench/dial"
)

type put struct {
	due     time.Time
	latency time.Duration
	failed  int
}

func main() {
	rate := flag.Float64("rate", 100, "puts a second")
	size := flag.Int("size", 1024, "bytes of a value")
	keys := flag.Int("keys", 1000, "keys that are written in turn")
	connections := flag.Int("connections", 8, "TCP connections")
	flag.Parse()
	clients, err := dial.Clients(*connections)
	if err != nil {
		log.Fatal(err)
	}
	value := make([]byte, *size)
	rand.New(rand.NewSource(1)).Read(value)
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()

	var group sync.WaitGroup
	var lock sync.Mutex
	var puts []put
	send := func(number int, due time.Time) {
		defer group.Done()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		key := fmt.Sprintf("/registry/leases/bench/load-%05d", number%*keys)
		_, err := clients[number%len(clients)].Put(ctx, key, string(value))
		one := put{due: due, latency: time.Since(due)}
		if err != nil {
			one.failed = 1
		}
		lock.Lock()
		puts = append(puts, one)
		lock.Unlock()
	}

	start := time.Now()
	step := time.Duration(float64(time.Second) / *rate)
	for number := 0; ; number++ {
		due := start.Add(time.Duration(number) * step)
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		select {
		case <-ended:
			group.Wait()
			report(puts)
			return
		default:
		}
		group.Add(1)
		go send(number, due)
	}
}

func report(puts []put) {
	out := bufio.NewWriter(os.Stdout)
	defer func() {
		if err := out.Flush(); err != nil {
			log.Fatal(err)
		}
	}()
	for _, each := range puts {
		fmt.Fprintln(out, each.due.UnixMicro(), each.latency.Microseconds(), each.failed)
	}
}
