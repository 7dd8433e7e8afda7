package driver

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// tokenPrefix makes a page token recognisable; what follows is the last id of the page before, which need not exist
// any more.
const tokenPrefix = "after:"

// pageRequest is what the requests for lists have in common.
type pageRequest interface {
	GetStartingToken() string
	GetMaxEntries() int32
}

// pageStart is the id that the page comes after. A starting_token that is not ours is ABORTED, as the spec wants it.
func pageStart(request pageRequest) (string, error) {
	after, ours := strings.CutPrefix(request.GetStartingToken(), tokenPrefix)
	if request.GetStartingToken() != "" && !ours {
		return "", status.Errorf(codes.Aborted, "found starting_token %q, expected one from an earlier answer", request.GetStartingToken())
	}
	if request.GetMaxEntries() < 0 {
		return "", invalid("found max_entries %d, expected no negative number", request.GetMaxEntries())
	}
	return after, nil
}

// paginate takes at most limit entries (0: all) of an ordered list that come after that id.
func paginate[T any](entries []T, id func(T) string, after string, limit int) (page []T, more bool) {
	start := slices.IndexFunc(entries, func(entry T) bool { return id(entry) > after })
	if start < 0 {
		return nil, false
	}
	page = entries[start:]
	if limit > 0 && len(page) > limit {
		return page[:limit], true
	}
	return page, false
}
