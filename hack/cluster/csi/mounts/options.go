package mounts

import (
	"strings"

	"golang.org/x/sys/unix"
)

// flags are the options of mount(8) that mount(2) takes as bits; all others are the file system's own.
var flags = map[string]uintptr{
	"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
	"sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC, "noatime": unix.MS_NOATIME,
	"nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME, "strictatime": unix.MS_STRICTATIME,
	"lazytime": unix.MS_LAZYTIME,
	"rw":       0, "suid": 0, "dev": 0, "exec": 0, "async": 0, "atime": 0, "defaults": 0,
}

// split turns a StorageClass's mountOptions into what mount(2) takes.
func split(options []string) (bits uintptr, data string) {
	var own []string
	for _, option := range options {
		bit, known := flags[option]
		if !known {
			own = append(own, option)
		}
		bits |= bit
	}
	return bits, strings.Join(own, ",")
}
