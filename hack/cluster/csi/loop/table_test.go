package loop

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReadTable(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/loop0/dev", "7:0\n")
	write(t, root+"/loop0/loop/backing_file", "/pool/volumes/a/disk.img\n")
	write(t, root+"/loop1/dev", "7:1\n") // no file attached
	write(t, root+"/loop12/dev", "7:12\n")
	write(t, root+"/loop12/loop/backing_file", "/pool/volumes/a b/disk.img (deleted)\n")
	write(t, root+"/loop2/dev", "7:2\n") // being detached
	write(t, root+"/loop2/loop/backing_file", "\n")
	write(t, root+"/vda/dev", "254:0\n")
	write(t, root+"/loopback/loop/backing_file", "/x\n")

	got, err := readTable(root)
	want := []Device{
		{"loop0", "7:0", "/pool/volumes/a/disk.img", false},
		{"loop12", "7:12", "/pool/volumes/a b/disk.img", true},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := readTable(root + "/absent"); err == nil {
		t.Error("no such directory: expected an error")
	}
}

func TestBelowAndOf(t *testing.T) {
	devices := []Device{
		{"loop0", "7:0", "/pool/a/disk.img", false},
		{"loop1", "7:1", "/pool/ab/disk.img", false},
		{"loop2", "7:2", "/pool/a/limit/disk.img", true},
	}
	if got := Below(devices, "/pool/a"); len(got) != 2 || got[0].Name != "loop0" || got[1].Name != "loop2" {
		t.Errorf("below /pool/a: got %+v", got)
	}
	if got := Below(devices, "/pool/a/"); len(got) != 2 {
		t.Errorf("below /pool/a/: got %+v", got)
	}
	if got, found := Of(devices, "/pool/ab/disk.img"); !found || got.Path() != "/dev/loop1" {
		t.Errorf("of /pool/ab/disk.img: got %+v, %v", got, found)
	}
	if got, found := Of(devices, "/pool/a/limit/disk.img"); found {
		t.Errorf("a deleted file is not that file: got %+v", got)
	}
}
