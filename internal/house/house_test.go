package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "understudy"
	root   = "../.."
)

// layers says how high each folder stands, by the longest prefix that matches. A
// package imports only packages of its own layer or of lower ones.
var layers = map[string]int{
	"messages":            0,
	"internal/nearest":    0,
	"internal/beat":       1,
	"cluster/replica":     0,
	"cluster/placement":   0,
	"cluster/election":    0,
	"cluster/topicconfig": 0,
	"persistence":         1,
	"cluster":             1,
	"actors":              2,
	"kafka":               3,
	"client":              3,
	"config":              4,
	".":                   4, // the assembly
	"cmd":                 5,
	"integration":         5,
	"client/clienttest":   5, // brokers for users' tests
	"examples":            5,
	"internal":            5,
}

// pure packages decide and do nothing else: whoever calls them owns the clock,
// the disk and the network, which is what lets a simulator drive them.
var pure = []string{
	"messages", "messages/batch", "messages/producer",
	"cluster/replica", "cluster/placement", "cluster/election", "cluster/topicconfig",
	"actors/group/core",
	"internal/nearest",
}

var impure = []string{"net", "os", "io", "time", "sync", "context", "syscall", "golang.org/x/sys"}

// pkg is one package's files, without its tests.
type pkg struct {
	dir   string // slash-separated, relative to the module's root
	files map[string]*ast.File
}

func packages(t *testing.T) []pkg {
	t.Helper()
	byDir := map[string]map[string]*ast.File{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(p, root), "/"))
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") && p != root || d.Name() == "testdata" || rel == "build" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := path.Dir(rel)
		if byDir[dir] == nil {
			byDir[dir] = map[string]*ast.File{}
		}
		byDir[dir][rel] = file
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dir, files := range byDir {
		all = append(all, pkg{dir, files})
	}
	slices.SortFunc(all, func(a, b pkg) int { return strings.Compare(a.dir, b.dir) })
	return all
}

func layerOf(dir string) (layer int, known bool) {
	for d := dir; ; d = path.Dir(d) {
		if layer, known = layers[d]; known && (d != "." || dir == ".") {
			return layer, true
		}
		if d == "." {
			return 0, false
		}
	}
}

// imports are the paths that a file imports, unquoted.
func imports(f *ast.File) []string {
	var paths []string
	for _, spec := range f.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// ours turns an import path into a folder of this module.
func ours(importPath string) (dir string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		layer, known := layerOf(p.dir)
		if !known {
			t.Errorf("%s stands in no layer: give it one in this test", p.dir)
			continue
		}
		for name, file := range p.files {
			for _, imported := range imports(file) {
				dir, mine := ours(imported)
				if below, _ := layerOf(dir); mine && below > layer {
					t.Errorf("%s (layer %d) imports %s (layer %d)", name, layer, dir, below)
				}
			}
		}
	}
}

// TestTheClientImportsNothingOfTheBroker keeps the SDK usable with any Kafka. Its test
// kit is another matter: it is a broker, and only tests import it.
func TestTheClientImportsNothingOfTheBroker(t *testing.T) {
	for _, p := range packages(t) {
		if p.dir != "client" && !strings.HasPrefix(p.dir, "client/") || p.dir == "client/clienttest" {
			continue
		}
		for name, file := range p.files {
			for _, imported := range imports(file) {
				if dir, mine := ours(imported); mine && (!strings.HasPrefix(dir, "client") || dir == "client/clienttest") {
					t.Errorf("%s imports %s", name, dir)
				}
			}
		}
	}
}

func TestPurePackagesStayPure(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(pure, p.dir) {
			continue
		}
		for name, file := range p.files {
			for _, imported := range imports(file) {
				for _, bad := range impure {
					if imported == bad || strings.HasPrefix(imported, bad+"/") {
						t.Errorf("%s is pure and imports %s", name, imported)
					}
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n.(type) {
				case *ast.GoStmt, *ast.ChanType, *ast.SelectStmt:
					t.Errorf("%s is pure and uses goroutines or channels", name)
				}
				return true
			})
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		documented := slices.ContainsFunc(slices.Collect(maps.Values(p.files)), func(f *ast.File) bool { return f.Doc != nil })
		if !documented {
			t.Errorf("package %s has no package comment", p.dir)
		}
	}
}

// TestNothingIsLeftForLater keeps notes of unfinished work out of the tree.
func TestNothingIsLeftForLater(t *testing.T) {
	later := regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)
	for _, p := range packages(t) {
		for name, file := range p.files {
			for _, group := range file.Comments {
				if later.MatchString(group.Text()) && p.dir != "internal/house" {
					t.Errorf("%s: %s", name, strings.TrimSpace(group.Text()))
				}
			}
		}
	}
}

func TestDocumentsNameFilesThatExist(t *testing.T) {
	named := regexp.MustCompile("`((?:[a-z0-9_.-]+/)*[A-Za-z0-9_.-]+(?:\\.go|\\.md|\\.txt|/))`")
	for _, document := range []string{"ARCHITECTURE.md", "README.md"} {
		text, err := os.ReadFile(filepath.Join(root, document))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(root, match[1])); err != nil {
				t.Errorf("%s names %s, which is not there", document, match[1])
			}
		}
	}
}
