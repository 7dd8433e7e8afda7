package livetest

import (
	_ "embed"
	"encoding/xml"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// sanityVariable names the csi-sanity binary.
const sanityVariable = "CSI_SANITY"

//go:embed sanity-skips.txt
var sanitySkips string

// The conformance suite of CSI, with file systems and with Block volumes. What it skips is known by name.
func TestSanity(t *testing.T) {
	sanity := os.Getenv(sanityVariable)
	if sanity == "" {
		t.Skipf("set %s to the path of csi-sanity to run it", sanityVariable)
	}
	for _, access := range []string{"mount", "block"} {
		t.Run(access, func(t *testing.T) {
			b := newPool(t)
			b.start("node-1", "--mode", "all", "--node-id", "node-1")
			mutable, junit := b.path("mutable.yaml"), b.path("report.xml")
			b.must(os.WriteFile(mutable, []byte("tier: gold\n"), 0o600))
			suite := exec.Command(sanity, "--csi.endpoint=unix://"+b.socket("node-1"), "--csi.testvolumeaccesstype="+access,
				"--csi.testvolumemutableparameters="+mutable, "--csi.mountdir="+b.path("mount"), "--csi.stagingdir="+b.path("staging"),
				"--ginkgo.junit-report="+junit, "--ginkgo.no-color")
			output, err := suite.CombinedOutput()
			if err != nil {
				t.Fatalf("csi-sanity: %v\n%s", err, output)
			}
			passed, skipped := readJUnit(t, junit)
			if passed == 0 {
				t.Error("csi-sanity ran no test")
			}
			compare(t, skipped, knownSkips())
			b.expectNothingLeft()
			t.Logf("csi-sanity, %s: %d passed, %d skipped", access, passed, len(skipped))
		})
	}
}

func knownSkips() []string {
	var names []string
	for line := range strings.Lines(sanitySkips) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			names = append(names, line)
		}
	}
	return names
}

func compare(t *testing.T, skipped, known []string) {
	t.Helper()
	for _, name := range skipped {
		if !slices.Contains(known, name) {
			t.Errorf("skipped, and not in sanity-skips.txt: %s", name)
		}
	}
	for _, name := range known {
		if !slices.Contains(skipped, name) {
			t.Errorf("in sanity-skips.txt, and not skipped: %s", name)
		}
	}
}

// readJUnit counts the tests that passed and names those that did not run.
func readJUnit(t *testing.T, path string) (passed int, skipped []string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var junit struct {
		Suites []struct {
			Cases []struct {
				Name   string `xml:"name,attr"`
				Status string `xml:"status,attr"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(content, &junit); err != nil {
		t.Fatal(err)
	}
	for _, suite := range junit.Suites {
		for _, one := range suite.Cases {
			switch one.Status {
			case "passed":
				passed++
			case "skipped", "pending":
				skipped = append(skipped, strings.TrimPrefix(one.Name, "[It] "))
			default:
				t.Errorf("%s: found status %q, expected passed, skipped or pending", one.Name, one.Status)
			}
		}
	}
	return passed, skipped
}
