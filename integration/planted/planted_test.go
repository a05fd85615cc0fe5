package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// TestPlacesAreThere has every bug planted, and the files still be Go.
func TestPlacesAreThere(t *testing.T) {
	files, err := plant(root, bugs)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if _, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution); err != nil {
			t.Error(err)
		}
	}
	if len(bugs) < 25 {
		t.Errorf("%d bugs are too few", len(bugs))
	}
	names := map[string]bool{}
	for _, b := range bugs {
		if names[b.name] || b.what == "" || len(b.as) == 0 || b.within <= 0 {
			t.Errorf("%+v is not told in full, or twice", b)
		}
		names[b.name] = true
	}
}

// TestTheBrokerKnowsNothingOfBugs keeps the switch out of the broker.
func TestTheBrokerKnowsNothingOfBugs(t *testing.T) {
	if _, err := os.Stat(filepath.Join(root, switchPath)); err == nil {
		t.Errorf("%s is there", switchPath)
	}
}

// TestTheTableIsTrue compares the documentation with what is looked for.
func TestTheTableIsTrue(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bugs {
		if row := b.row(); !strings.Contains(string(text), row) {
			t.Errorf("docs/reliability.md lacks the line\n%s", row)
		}
	}
}
