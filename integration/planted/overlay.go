package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// plant gives the files of the module at root with all bugs in them, each behind
// its switch, by path.
func plant(root string, bugs []bug) (map[string]string, error) {
	files := map[string]string{switchPath: switchSource}
	for _, b := range bugs {
		for _, c := range b.changes {
			text, have := files[c.file]
			if !have {
				raw, err := os.ReadFile(filepath.Join(root, c.file))
				if err != nil {
					return nil, err
				}
				text = importSwitch(string(raw))
			}
			if n := strings.Count(text, c.old); n != 1 {
				return nil, fmt.Errorf("%s: %s has %d places that read:\n%s", b.name, c.file, n, c.old)
			}
			now := strings.ReplaceAll(c.now, "BUG", fmt.Sprintf("planted.Is(%q)", b.name))
			files[c.file] = strings.Replace(text, c.old, now, 1)
		}
	}
	return files, nil
}

var packageClause = regexp.MustCompile(`(?m)^package \w+$`)

// importSwitch imports the switch on the line of the package clause, so that the
// lines keep their numbers.
func importSwitch(text string) string {
	at := packageClause.FindStringIndex(text)
	return text[:at[1]] + `; import "understudy/internal/planted"` + text[at[1]:]
}

// writeOverlay writes changed files to a directory, and returns the path of what
// the go command's -overlay is to be given.
func writeOverlay(root, dir string, files map[string]string) (string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range files {
		copied := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay.Replace[filepath.Join(root, name)] = copied
	}
	raw, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, raw, 0o600)
}
