package pool

import "slices"

// Used is what the volumes of a capacity group take of a node: their nominal sizes, as a tenant is charged, not what
// their sparse disks hold. A shared volume counts on each of its nodes.
func Used(volumes []*Volume, group, node string) (int64, error) {
	var used int64
	for _, volume := range volumes {
		class, err := volume.Class()
		if err != nil {
			return 0, err
		}
		if class.CapacityGroup == group && slices.Contains(volume.Nodes, node) {
			used += volume.SizeBytes
		}
	}
	return used, nil
}
