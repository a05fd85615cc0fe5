package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// Inputs are the places that settings come from, weakest first.
type Inputs struct {
	File  string            // name of a YAML file; empty: none
	Env   []string          // the environment, as os.Environ gives it
	Flags map[string]string // values by the setting's key, of the flags that were given
}

// reserved are the variables that are not settings.
var reserved = []string{"UNDERSTUDY_CONFIG", "UNDERSTUDY_BROKERS", "UNDERSTUDY_ADMIN"}

// Load reads the inputs over the defaults, derives what was left open and checks
// the whole. Warnings are about things that may be meant as they stand. The error
// is a Problems that lists everything that is wrong, not only the first.
func Load(in Inputs) (c Config, warnings []string, err error) {
	c = Default()
	c.sources = make(map[string]Source)
	var problems Problems
	if in.File != "" {
		text, err := readFile(in.File)
		if err != nil {
			return c, nil, Problems{{Where: in.File, Message: err.Error()}}
		}
		problems = append(problems, c.readYAML(in.File, text)...)
	}
	fromEnv, warnings := c.readEnv(in.Env)
	problems = append(problems, fromEnv...)
	problems = append(problems, c.readFlags(in.Flags)...)
	if len(problems) > 0 {
		return c, warnings, problems
	}
	c, err = c.Complete()
	return c, warnings, err
}

// readFile reads a file up to a little over maxFile.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Parse reads a YAML text over the defaults. The name is for messages.
func Parse(name string, text []byte) (Config, error) {
	c := Default()
	c.sources = make(map[string]Source)
	if problems := c.readYAML(name, text); len(problems) > 0 {
		return c, problems
	}
	return c.Complete()
}

// set takes one value from a place. It returns what is wrong with it, or nil.
func (c *Config) set(s *Setting, text string, from Source) error {
	if err := s.parse(c, text); err != nil {
		return err
	}
	c.sources[s.Key] = from
	return nil
}

// readEnv takes the variables that name a setting. A variable that almost does
// is warned about and not refused: container platforms put variables of their
// own making into the environment (UNDERSTUDY_SERVICE_HOST).
func (c *Config) readEnv(env []string) (problems Problems, warnings []string) {
	byName := make(map[string]*Setting, len(settings))
	for _, s := range settings {
		byName[s.Env()] = s
	}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "UNDERSTUDY_") || slices.Contains(reserved, name) {
			continue
		}
		s := byName[name]
		if s == nil {
			if near := Lookup(likely(strings.TrimPrefix(name, "UNDERSTUDY_"))); near != nil {
				warnings = append(warnings, fmt.Sprintf("environment: %s is not a setting; did you mean %s?", name, near.Env()))
			}
			continue
		}
		if err := c.set(s, value, Source(name)); err != nil {
			problems = append(problems, Problem{Where: name, Key: s.Key, Message: err.Error()})
		}
	}
	return problems, warnings
}

func (c *Config) readFlags(flags map[string]string) Problems {
	var problems Problems
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		s := Lookup(key)
		if s == nil {
			problems = append(problems, Problem{Where: "flag", Message: unknown(key)})
			continue
		}
		if err := c.set(s, flags[key], Source("--"+s.Flag())); err != nil {
			problems = append(problems, Problem{Where: "--" + s.Flag(), Key: key, Message: err.Error()})
		}
	}
	return problems
}
