// Package topology turns CSI's accessibility requirements into the name of a node and back. A node is the one
// topology domain that this driver knows, as with any storage that is local to a machine.
package topology

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// Key is the topology key; its value is the node's name.
const Key = "topology.loop.csi.vmdisk.dev/node"

// ErrMalformed is a requirement that does not speak of this driver's topology.
var ErrMalformed = errors.New("malformed accessibility requirement")

// Of is the topology of these nodes: the terms are alternatives, so one for each.
func Of(nodes ...string) []*csi.Topology {
	terms := make([]*csi.Topology, 0, len(nodes))
	for _, node := range nodes {
		terms = append(terms, &csi.Topology{Segments: map[string]string{Key: node}})
	}
	return terms
}

// Node is the node that a term names.
func Node(term *csi.Topology) (string, error) {
	node := term.GetSegments()[Key]
	if node == "" {
		return "", fmt.Errorf("%w: found segments %v, expected a value of %s", ErrMalformed, term.GetSegments(), Key)
	}
	return node, nil
}

// Candidates lists the nodes where a volume may be created, best first: those that are preferred, then the rest of
// the requisite ones (CSI spec, TopologyRequirement). Without a requirement every known node will do.
func Candidates(requirement *csi.TopologyRequirement, known []string) ([]string, error) {
	terms := slices.Concat(requirement.GetPreferred(), requirement.GetRequisite())
	if len(terms) == 0 {
		return known, nil
	}
	var nodes []string
	for _, term := range terms {
		node, err := Node(term)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	return nodes, nil
}

// Choose takes the first candidate that room has no objection to. When there is none, the error has every objection.
func Choose(candidates []string, room func(node string) error) (string, error) {
	objections := make([]string, 0, len(candidates))
	for _, node := range candidates {
		err := room(node)
		if err == nil {
			return node, nil
		}
		objections = append(objections, err.Error())
	}
	if len(objections) == 0 {
		return "", errors.New("no node is known")
	}
	return "", errors.New(strings.Join(objections, "; "))
}

// Satisfies says whether a volume that is accessible from these nodes fulfils the requirement: spec's words are that
// it must be accessible from at least one of the requisite topologies.
func Satisfies(nodes []string, requirement *csi.TopologyRequirement) (bool, error) {
	candidates, err := Candidates(requirement, nodes)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(nodes, func(node string) bool { return slices.Contains(candidates, node) }), nil
}
