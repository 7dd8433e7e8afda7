package topology

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

func requirement(preferred, requisite []string) *csi.TopologyRequirement {
	return &csi.TopologyRequirement{Preferred: Of(preferred...), Requisite: Of(requisite...)}
}

func TestCandidates(t *testing.T) {
	known := []string{"node-1", "node-2"}
	for name, c := range map[string]struct {
		requirement *csi.TopologyRequirement
		want        []string
	}{
		"none":                      {nil, known},
		"empty":                     {requirement(nil, nil), known},
		"preferred before the rest": {requirement([]string{"b"}, []string{"a", "b", "c"}), []string{"b", "a", "c"}},
		"preferred alone":           {requirement([]string{"b", "a"}, nil), []string{"b", "a"}},
		"strict":                    {requirement([]string{"a"}, []string{"a"}), []string{"a"}},
	} {
		got, err := Candidates(c.requirement, known)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
		}
	}
	foreign := &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{"zone": "a"}}}}
	if _, err := Candidates(foreign, known); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "zone:a") {
		t.Errorf("a foreign key: got %v", err)
	}
}

func TestChoose(t *testing.T) {
	full := func(names ...string) func(string) error {
		return func(node string) error {
			if slices.Contains(names, node) {
				return fmt.Errorf("%s is full", node)
			}
			return nil
		}
	}
	if node, err := Choose([]string{"b", "a"}, full()); node != "b" || err != nil {
		t.Errorf("the preferred one: got %q, %v", node, err)
	}
	if node, err := Choose([]string{"b", "a"}, full("b")); node != "a" || err != nil {
		t.Errorf("the next one: got %q, %v", node, err)
	}
	if _, err := Choose([]string{"b", "a"}, full("a", "b")); err == nil || err.Error() != "b is full; a is full" {
		t.Errorf("none: got %v", err)
	}
	if _, err := Choose(nil, full()); err == nil {
		t.Error("no candidate: expected an error")
	}
}

func TestSatisfies(t *testing.T) {
	for name, c := range map[string]struct {
		nodes       []string
		requirement *csi.TopologyRequirement
		want        bool
	}{
		"no requirement":  {[]string{"a"}, nil, true},
		"same node":       {[]string{"a"}, requirement([]string{"a"}, []string{"a", "b"}), true},
		"second choice":   {[]string{"b"}, requirement([]string{"a"}, []string{"a", "b"}), true},
		"elsewhere":       {[]string{"c"}, requirement(nil, []string{"a", "b"}), false},
		"shared, one hit": {[]string{"c", "b"}, requirement(nil, []string{"a", "b"}), true},
	} {
		if got, err := Satisfies(c.nodes, c.requirement); got != c.want || err != nil {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, c.want)
		}
	}
}
