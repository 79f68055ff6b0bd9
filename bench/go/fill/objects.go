// Copyright (c) 2026, controlplane.etcd authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand"
)

// A kind of object, and how many of a hundred objects are of it.
type kind struct {
	share                    int
	prefix, apiVersion, name string
	encrypted                bool
}

var kinds = []kind{
	{30, "pods", "v1", "Pod", false},
	{20, "events", "v1", "Event", false},
	{12, "replicasets", "apps/v1", "ReplicaSet", false},
	{10, "configmaps", "v1", "ConfigMap", false},
	{8, "endpointslices", "discovery.k8s.io/v1", "EndpointSlice", false},
	{6, "deployments", "apps/v1", "Deployment", false},
	{6, "leases", "coordination.k8s.io/v1", "Lease", false},
	{4, "serviceaccounts", "v1", "ServiceAccount", false},
	{2, "secrets", "v1", "Secret", false},
	{2, "secrets", "v1", "Secret", true},
}

const (
	perNamespace  = 200
	templateBytes = 48
	randomBytes   = 10
	kubeSystem    = "/registry/namespaces/kube-system"
	kubeSystemUID = "6d1c60a3-62f4-4f52-9ac5-2b6f7d0e84b1"
)

// A maker makes the same objects for the same index every time.
type maker struct {
	mean      int
	templates [][]byte
}

func newMaker(mean int) *maker {
	source := rand.New(rand.NewSource(1))
	words := []string{
		"metadata", "labels", "app.kubernetes.io/name", "kubectl.kubernetes.io/last-applied-configuration",
		"f:spec", "f:containers", "k:{\"name\"", "f:image", "f:resources", "f:limits", "f:cpu", "f:memory",
		"registry.example.org/team/service", "IfNotPresent", "/var/run/secrets/kubernetes.io/serviceaccount",
		"RollingUpdate", "kubelet", "default-scheduler", "ClusterFirst", "NoExecute", "ready", "ContainersReady",
	}
	made := &maker{mean: mean}
	for range kinds {
		var text []byte
		for len(text) < 1<<14 {
			text = append(text, words[source.Intn(len(words))]...)
			text = append(text, ": "[source.Intn(2)], byte(source.Intn(96)+32))
		}
		made.templates = append(made.templates, text)
	}
	return made
}

func kindOf(index int) int {
	at := (index * 37) % 100
	for number, each := range kinds {
		if at -= each.share; at < 0 {
			return number
		}
	}
	panic("the shares are less than 100")
}

func (m *maker) key(index int) string {
	if index == 0 {
		return kubeSystem
	}
	return fmt.Sprintf("/registry/%s/team-%05d/service-%07d", kinds[kindOf(index)].prefix, index/perNamespace, index)
}

// value returns an object in the protobuf that the API server keeps (runtime.Unknown), or one that
// is encrypted. Beside its metadata it is text of its kind with random digits in between, so that
// it compresses about as objects do.
func (m *maker) value(index, version int) []byte {
	source := rand.New(rand.NewSource(int64(index)<<8 + int64(version)))
	number := kindOf(index)
	this := kinds[number]
	size := m.mean/2 + source.Intn(m.mean+1)
	if this.encrypted {
		sealed := append([]byte("k8s:enc:aescbc:v1:key1:"), make([]byte, size)...)
		source.Read(sealed[23:])
		return sealed
	}
	name, namespace := fmt.Sprintf("service-%07d", index), fmt.Sprintf("team-%05d", index/perNamespace)
	random := make([]byte, 16)
	source.Read(random)
	uid := fmt.Sprintf("%x-%x-%x-%x-%x", random[:4], random[4:6], random[6:8], random[8:10], random[10:])
	if index == 0 {
		this, name, namespace, uid = kind{apiVersion: "v1", name: "Namespace"}, "kube-system", "", kubeSystemUID
	}
	// k8s.io/apimachinery ObjectMeta: name 1, namespace 3, uid 5
	meta := field(field(field(nil, 1, []byte(name)), 3, []byte(namespace)), 5, []byte(uid))
	text := make([]byte, 0, size+templateBytes)
	at := source.Intn(1 << 13)
	for len(text) < size-len(meta)-60 {
		at = (at + templateBytes) % (1<<14 - templateBytes)
		text = append(text, m.templates[number][at:at+templateBytes]...)
		source.Read(random[:randomBytes])
		text = hex.AppendEncode(text, random[:randomBytes])
	}
	raw := field(field(nil, 1, meta), 2, text)
	typeMeta := field(field(nil, 1, []byte(this.apiVersion)), 2, []byte(this.name))
	return field(field([]byte("k8s\x00"), 1, typeMeta), 2, raw)
}

// field appends a length-delimited protobuf field.
func field(to []byte, number int, data []byte) []byte {
	to = append(to, byte(number<<3|2))
	to = binary.AppendUvarint(to, uint64(len(data)))
	return append(to, data...)
}
