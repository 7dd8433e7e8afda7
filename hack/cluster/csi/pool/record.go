package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// readRecord answers the error missing where there is none.
func readRecord[T any](path string, missing error) (*T, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	record := new(T)
	if err := json.Unmarshal(content, record); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return record, nil
}

// writeRecord replaces a record in one step. It is not synced: the process may die at any point, but a machine that
// does takes the whole cluster with it.
func writeRecord(path string, record any) error {
	content, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(content, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// removeRecord is no error when there is none.
func removeRecord(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// listRecords gets what each entry of a directory stands for, ordered by name. An entry without a record is being
// created, or was deleted between two steps of ours.
func listRecords[T any](dir string, missing error, get func(id string) (*T, error)) ([]*T, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	records := make([]*T, 0, len(entries))
	for _, entry := range entries {
		record, err := get(entry.Name())
		if errors.Is(err, missing) {
			continue
		}
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return records, nil
}
