package faults

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pelotech.ot/vmdisk/hack/cluster/csi/params"
)

func injector(t *testing.T, state string) *Injector {
	t.Helper()
	i, err := New(state, "controller")
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestFailCountsOverRestarts(t *testing.T) {
	state := t.TempDir()
	want := []bool{true, true, false, false}
	for call, failed := range want {
		got, _, err := injector(t, state).Fail(CreateVolume, "a", 2)
		if err != nil || got != failed {
			t.Errorf("call %d: got %v, %v, want %v", call+1, got, err, failed)
		}
	}
	i := injector(t, state)
	if got, attempt, err := i.Fail(CreateVolume, "b", 2); !got || attempt != 1 || err != nil {
		t.Errorf("another volume: got %v, %d, %v", got, attempt, err)
	}
	if got, attempt, err := i.Fail(NodeStageVolume, "a", 1); !got || attempt != 1 || err != nil {
		t.Errorf("another operation: got %v, %d, %v", got, attempt, err)
	}
	if err := errors.Join(i.Forget("a"), i.Forget("b"), i.Forget("never")); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(state, attemptsDir)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// eventually polls a condition of another goroutine.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

func TestHold(t *testing.T) {
	state := t.TempDir()
	i := injector(t, state)
	claim := params.Claim{Namespace: "lab", Name: "disk"}
	hold := func(ctx context.Context) <-chan error {
		done := make(chan error, 1)
		go func() { done <- i.Hold(ctx, "test", CreateVolume, "pvc-1", claim) }()
		return done
	}
	if err := <-hold(t.Context()); err != nil {
		t.Errorf("no such hold: got %v", err)
	}
	if err := i.Hold(t.Context(), "", CreateVolume, "pvc-1", claim); err != nil {
		t.Errorf("no hold asked for: got %v", err)
	}

	file := filepath.Join(state, holdsDir, "test")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := hold(t.Context())
	held := func() []Held {
		held, err := Holding(state)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	eventually(t, "the mark appears", func() bool { return len(held()) == 1 })
	mark := held()[0]
	if mark.Volume != "pvc-1" || mark.Claim != "disk" || mark.Namespace != "lab" || mark.Operation != CreateVolume || mark.Owner != "controller" {
		t.Errorf("mark: got %+v", mark)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || len(held()) != 0 {
		t.Errorf("after the release: got %v, marks %v", err, held())
	}
}

func TestHoldEndsWithItsContext(t *testing.T) {
	state := t.TempDir()
	i := injector(t, state)
	if err := os.WriteFile(filepath.Join(state, holdsDir, "test"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := i.Hold(ctx, "test", CreateVolume, "pvc-1", params.Claim{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if held, err := Holding(state); err != nil || len(held) != 0 {
		t.Errorf("marks left: %v, %v", held, err)
	}
}

func TestNewRemovesOwnStaleMarks(t *testing.T) {
	state := t.TempDir()
	controller := injector(t, state)
	node, err := New(state, "node-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		controller.mark(Held{Hold: "test", Volume: "a", Owner: "controller"}),
		node.mark(Held{Hold: "test", Volume: "b", Owner: "node-1"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	injector(t, state)
	held, err := Holding(state)
	if err != nil || len(held) != 1 || held[0].Owner != "node-1" {
		t.Errorf("got %+v, %v", held, err)
	}
}

func TestSleep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(Sleep(ctx, 0), Sleep(t.Context(), time.Millisecond)); err != nil {
		t.Error(err)
	}
}
